// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
)

// logTo returns a handler that writes lines. For the journal they are without a time, which it has itself, and with their priority
// in front (sd-daemon(3)), so that journalctl -p warning finds what matters.
func logTo(w io.Writer, level slog.Level) slog.Handler {
	if os.Getenv("JOURNAL_STREAM") == "" {
		return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	}
	return slog.NewTextHandler(journal{w}, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
}

// journal puts the priority in front of each line.
type journal struct{ io.Writer }

// priorities are syslog's, by what a line begins with.
var priorities = []struct{ begin, priority string }{
	{"level=ERROR", "<3>"}, {"level=WARN", "<4>"}, {"level=INFO", "<6>"}, {"level=DEBUG", "<7>"},
}

// Write writes one line.
func (j journal) Write(line []byte) (int, error) {
	for _, p := range priorities {
		if bytes.HasPrefix(line, []byte(p.begin)) {
			_, err := j.Writer.Write(append([]byte(p.priority), line...))
			return len(line), err
		}
	}
	return j.Writer.Write(line)
}
