// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ReadTables reads the names of routing tables, /etc/iproute2/rt_tables: a number (decimal or 0x…) and a name per line.
// Lines that are neither that nor a comment are left out, as iproute2 does. Later lines win.
func ReadTables(r io.Reader) (map[string]uint32, error) {
	tables := make(map[string]uint32)
	s := bufio.NewScanner(r)
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		if n, err := strconv.ParseUint(f[0], 0, 32); err == nil {
			tables[f[1]] = uint32(n)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read the names of routing tables: %w", err)
	}
	return tables, nil
}
