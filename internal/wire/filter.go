// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// What is heard of one device: so many frames in each span of time, about 3,800 a second. It is what a thousand guests that wake up at
// once take, and some of a hundred devices that bring all they can fit the buffers of the sockets.
const (
	limitFrames = 1024
	limitSpan   = 28   // 2^28 ns, 268 ms
	limitMost   = 4096 // devices that are counted; of more, those that were silent for longest are forgotten
)

// cut is what is left of a frame that is the last to be heard of its device for a while: its header, which is no frame.
const cut = 14

// filters are the programs that the sockets of one Listen hear through. They work before a frame takes room in a socket's buffer, which
// one device's flood would fill otherwise: nobody else was heard then.
type filters struct {
	counts *ebpf.Map // by ifindex: the span, and how many frames came in it; nil where there is no limit
	progs  []*ebpf.Program
}

func newFilters(limited bool) (*filters, error) {
	f := &filters{}
	if limited {
		var err error
		f.counts, err = ebpf.NewMap(&ebpf.MapSpec{Name: "weft_heard", Type: ebpf.LRUHash, KeySize: 4, ValueSize: 16, MaxEntries: limitMost})
		if err != nil {
			return nil, fmt.Errorf("make a map of devices: %w", err)
		}
	}
	return f, nil
}

// program returns the file descriptor of a protocol's program.
func (f *filters) program(etherType uint16) (int, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "weft_hear", Type: ebpf.SocketFilter, License: "Apache-2.0", Instructions: instructions(etherType, f.counts),
	})
	if err != nil {
		return 0, fmt.Errorf("load the filter: %w", err)
	}
	f.progs = append(f.progs, p)
	return p.FD(), nil
}

// close lets go of the programs and their map, which last as long as the sockets that use them.
func (f *filters) close() {
	for _, p := range f.progs {
		_ = p.Close()
	}
	if f.counts != nil {
		_ = f.counts.Close()
	}
}

// Where a program finds these in its context: struct __sk_buff in linux/bpf.h.
const (
	skbPacketType = 4
	skbIfIndex    = 40
)

// instructions are the filter of a protocol's socket. It is all that a forwarded IPv6 packet pays, which leaves it at the first test.
//
// Frames for other hosts are left out, and with them those of VLANs that no device takes off the trunk: the kernel hands
// these up as if they had no tag, and marks them so.
func instructions(etherType uint16, counts *ebpf.Map) asm.Instructions {
	const nextHeader, hopLimit, icmpType, icmpv6 = 20, 21, 54, 58
	p := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)} // LoadAbs takes the context from there
	if etherType == frame.EtherTypeIPv6 {
		p = append(p,
			asm.LoadAbs(nextHeader, asm.Byte),
			asm.JNE.Imm(asm.R0, icmpv6, "drop"),
			asm.LoadAbs(hopLimit, asm.Byte),
			asm.JNE.Imm(asm.R0, 255, "drop"),
			asm.LoadAbs(icmpType, asm.Byte),
			asm.JLT.Imm(asm.R0, 133, "drop"),
			asm.JGT.Imm(asm.R0, 136, "drop"),
		)
	}
	p = append(p,
		asm.LoadMem(asm.R0, asm.R6, skbPacketType, asm.Word),
		asm.JEq.Imm(asm.R0, unix.PACKET_OTHERHOST, "drop"),
	)
	if counts != nil {
		p = append(p, limit(counts)...)
	}
	return append(p,
		asm.Mov.Imm(asm.R0, maxFrame).WithSymbol("accept"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("drop"),
		asm.Return(),
	)
}

// limit accepts a frame while few have come from its device in this span of time, cuts the one with which that ends, and drops more. Where
// two processors count at once, a few more may pass, and the cut be missed.
func limit(counts *ebpf.Map) asm.Instructions {
	const key, value, span, count = -4, -24, 0, 8 // on the stack; in the value
	return asm.Instructions{
		asm.LoadMem(asm.R0, asm.R6, skbIfIndex, asm.Word),
		asm.StoreMem(asm.RFP, key, asm.R0, asm.Word),
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.RSh.Imm(asm.R7, limitSpan),
		asm.LoadMapPtr(asm.R1, counts.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, key),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, "known"),

		asm.StoreMem(asm.RFP, value+span, asm.R7, asm.DWord),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreMem(asm.RFP, value+count, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, counts.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, key),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, value),
		asm.Mov.Imm(asm.R4, int32(ebpf.UpdateAny)),
		asm.FnMapUpdateElem.Call(),
		asm.Ja.Label("accept"),

		asm.LoadMem(asm.R1, asm.R0, span, asm.DWord).WithSymbol("known"),
		asm.JEq.Reg(asm.R1, asm.R7, "more"),
		asm.StoreMem(asm.R0, span, asm.R7, asm.DWord),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.R0, count, asm.R1, asm.DWord),

		asm.Mov.Imm(asm.R2, 1).WithSymbol("more"),
		asm.AddAtomic.Mem(asm.R0, asm.R2, asm.DWord, count),
		asm.LoadMem(asm.R2, asm.R0, count, asm.DWord),
		asm.JLT.Imm(asm.R2, limitFrames, "accept"),
		asm.JNE.Imm(asm.R2, limitFrames, "drop"),
		asm.Mov.Imm(asm.R0, cut),
		asm.Return(),
	}
}
