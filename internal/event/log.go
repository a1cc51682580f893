// SPDX-License-Identifier: Apache-2.0

package event

import (
	"context"
	"log/slog"
)

// Log returns a handler that makes an event of what is worth a line in the log, and hands everything to next.
func (d *Desk) Log(next slog.Handler) slog.Handler { return handler{next, d, nil} }

type handler struct {
	slog.Handler
	desk  *Desk
	attrs []slog.Attr
}

// Enabled reports whether anybody takes records of this level.
func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.Handler.Enabled(ctx, level)
}

// Handle hands on a record.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		e := Event{Time: r.Time, Kind: "agent", Text: r.Message, Attrs: map[string]string{}}
		if r.Level > slog.LevelInfo {
			e.Attrs["level"] = r.Level.String()
		}
		for _, a := range h.attrs {
			e.Attrs[a.Key] = a.Value.String()
		}
		r.Attrs(func(a slog.Attr) bool {
			e.Attrs[a.Key] = a.Value.String()
			return true
		})
		for _, k := range []string{"tap", "dev"} {
			if e.Dev == "" && e.Attrs[k] != "" {
				e.Dev = e.Attrs[k]
				delete(e.Attrs, k)
			}
		}
		h.desk.Put(e)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler with attributes of its own.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.desk, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup returns a handler for a group. Events do not have groups.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.desk, h.attrs}
}
