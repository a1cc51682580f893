// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"weft/internal/agent"
	"weft/internal/api"
	"weft/internal/event"
	"weft/internal/kernel"
)

// askTime is how long a verb waits for the agent before it looks itself.
const askTime = 5 * time.Second

// ask reads what the agent answers at a path into v. It reports false where this process has to look itself: no agent runs, or it
// keeps another file, or it does not answer somebody who can do without it.
func (o *options) ask(ctx context.Context, path string, v any) (bool, error) {
	file, err := filepath.Abs(o.file)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c := api.Dial(o.run)
	switch err := c.Get(ctx, path, v); {
	case errors.Is(err, api.ErrNoAgent), c.File != "" && c.File != file:
		return false, nil
	case err != nil && os.Geteuid() == 0:
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// serve answers requests until ctx ends, to root and to the group where there is one of that name. An agent that cannot goes on without.
func (o *options) serve(ctx context.Context, log *slog.Logger, desk *event.Desk, stats *agent.Stats, group string) {
	gid := -1
	if g, err := user.LookupGroup(group); err == nil {
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			gid = -1
		}
	}
	file, err := filepath.Abs(o.file)
	if err != nil {
		log.Error("no requests are answered", "err", err)
		return
	}
	l, err := api.Listen(o.run, gid)
	if err != nil {
		log.Error("no requests are answered", "err", err)
		return
	}
	s := &api.Server{
		Version: version(), Socket: filepath.Join(o.run, api.SocketName), File: file, Open: o.open, Held: o.openHeld, Guard: o.guard,
		Follow: follow, Events: desk, Metrics: stats.Handler(), Log: log,
	}
	if err := s.Serve(ctx, l); err != nil {
		log.Error("no requests are answered any more", "err", err)
	}
}

// follow tells what the kernel does, until ctx ends.
func follow(ctx context.Context, tell func(event.Event)) error {
	host, err := kernel.Open("")
	if err != nil {
		return err
	}
	return errors.Join(host.Follow(ctx, tell), host.Close())
}
