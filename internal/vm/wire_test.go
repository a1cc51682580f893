// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFrames(t *testing.T) {
	t.Parallel()
	frames := []frame{
		{kind: kindReady, body: []byte{}},
		{session: 7, kind: kindStdout, body: bytes.Repeat([]byte{0, 255}, maxBody/2)},
		{session: 1 << 31, kind: kindExit, body: number(-1)},
		{session: 3, kind: kindOpen, body: bytes.Repeat([]byte("x"), maxBody*4)},
	}
	var b bytes.Buffer
	w := frameWriter{w: &b}
	for _, f := range frames {
		if err := w.write(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range frames {
		got, err := readFrame(&b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(frame{})); diff != "" {
			t.Errorf("frame changed on its way (-sent +read):\n%s", diff)
		}
	}
	if _, err := readFrame(&b); err != io.EOF {
		t.Errorf("after the last frame: %v, want io.EOF", err)
	}
}

func TestFramesRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		in   string
		want string
	}{
		"half a header": {"\x00\x00", "unexpected EOF"},
		"no body":       {"\x00\x00\x00\x00\x04\x00\x00\x00\x02", "unexpected EOF"},
		"half a body":   {"\x00\x00\x00\x00\x04\x00\x00\x00\x02a", "unexpected EOF"},
		"kind 0":        {"\x00\x00\x00\x00\x00\x00\x00\x00\x00", "no such frame"},
		"kind 200":      {"\x00\x00\x00\x00\xc8\x00\x00\x00\x00", "no such frame"},
		"too long":      {"\x00\x00\x00\x00\x04\x00\x01\x00\x00", "no such frame"},
		"open too long": {"\x00\x00\x00\x00\x03\xff\x00\x00\x00", "no such frame"},
	} {
		_, err := readFrame(strings.NewReader(test.in))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
	}
	if err := (&frameWriter{w: io.Discard}).write(frame{kind: kindOpen, body: make([]byte, maxOpen+1)}); err == nil {
		t.Error("a frame above the limit was written")
	}
}

func FuzzReadFrame(f *testing.F) {
	var b bytes.Buffer
	w := frameWriter{w: &b}
	for _, fr := range []frame{{kind: kindReady}, {session: 9, kind: kindStdout, body: []byte("abc")}} {
		if err := w.write(fr); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.Bytes())
	f.Add([]byte{0, 0, 0, 0, 3, 0, 0, 255, 255})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		for {
			before := r.Len()
			fr, err := readFrame(r)
			if err != nil {
				return
			}
			// What was read is exactly what writing it gives.
			var again bytes.Buffer
			if err := (&frameWriter{w: &again}).write(fr); err != nil {
				t.Fatal(err)
			}
			read := in[len(in)-before : len(in)-r.Len()]
			if !bytes.Equal(again.Bytes(), read) {
				t.Fatalf("read %x, written again %x", read, again.Bytes())
			}
		}
	})
}

func TestNumbersAndSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 255, -1, 1 << 30} {
		if got := parseNumber(number(n)); got != n {
			t.Errorf("number %d became %d", n, got)
		}
	}
	if rows, cols, ok := parseSize(size(24, 300)); rows != 24 || cols != 300 || !ok {
		t.Errorf("size 24x300 became %dx%d, %v", rows, cols, ok)
	}
	if _, _, ok := parseSize([]byte{1}); ok {
		t.Error("one byte passed as a size")
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	w := newWindow()
	if !w.take(windowSize) {
		t.Fatal("the first window's worth was refused")
	}
	sent := make(chan bool)
	go func() { sent <- w.take(10) }()
	select {
	case <-sent:
		t.Fatal("more than the window was let go")
	default:
	}
	w.give(10)
	if !<-sent {
		t.Error("take failed though the window was open")
	}
	go func() { sent <- w.take(1) }()
	w.close()
	if <-sent {
		t.Error("take succeeded on a closed window")
	}
	w = newWindow()
	w.give(1 << 40) // of a peer that lies
	if w.free != windowSize {
		t.Errorf("the window grew to %d", w.free)
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	q := newQueue[int]()
	q.push(1)
	q.push(2)
	q.close()
	q.push(3)
	var got []int
	for v, ok := q.pop(); ok; v, ok = q.pop() {
		got = append(got, v)
	}
	if diff := cmp.Diff([]int{1, 2}, got); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
}

func TestParseCommandRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "{", `{"argv":[]}`, `{"argv":"x"}`} {
		if c, err := parseCommand([]byte(in)); err == nil {
			t.Errorf("%q was taken as %v", in, c)
		}
	}
	if errors.Is(ErrEnded, io.EOF) {
		t.Error("a lost link must not look like the end of the output")
	}
}
