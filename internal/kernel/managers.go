// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weft/internal/foreign"
)

// managers knows the links that one program takes for its own. It keeps a file for each link by its index, and replaces a file to
// change it, so that the folder changes too.
type managers struct {
	program string
	comm    string // its name in /proc
	dir     string
	says    func(values map[string]string) string // that it manages the link, in its own words; "" if it does not

	changed time.Time // of the folder, when it was read
	read    time.Time
	links   []foreign.Manager

	process  int // 0 for none
	searched time.Time
}

// newManagers returns the programs that are known. run is where they keep their files.
func newManagers(run string) []managers {
	return []managers{
		{
			program: "systemd-networkd", comm: "systemd-network", dir: run + "/systemd/netif/links",
			says: func(v map[string]string) string {
				if v["NETWORK_FILE"] == "" || v["ADMIN_STATE"] == "unmanaged" {
					return ""
				}
				return "ADMIN_STATE=" + v["ADMIN_STATE"] + " NETWORK_FILE=" + v["NETWORK_FILE"]
			},
		},
		{
			program: "NetworkManager", comm: "NetworkManager", dir: run + "/NetworkManager/devices",
			says: func(v map[string]string) string {
				if v["managed"] != "true" {
					return ""
				}
				if v["connection-uuid"] != "" {
					return "managed=true connection-uuid=" + v["connection-uuid"]
				}
				return "managed=true"
			},
		},
	}
}

// How coarse the times of files may be, and how long a program that was not there is taken to be absent.
const (
	fileTime    = time.Second
	absentAgain = 10 * time.Second
)

// look returns the links that the program manages, if it runs in the namespace of the calling thread: its files may be of another
// namespace's links, and NetworkManager leaves them behind when it ends.
func (m *managers) look() []foreign.Manager {
	info, err := os.Stat(m.dir)
	if err != nil {
		m.links, m.read = nil, time.Time{}
		return nil
	}
	if at := info.ModTime(); m.read.IsZero() || at != m.changed || m.read.Sub(at) < fileTime {
		m.changed, m.read = at, time.Now()
		m.readLinks()
		m.searched = time.Time{}
	}
	if len(m.links) == 0 || !m.runs() {
		return nil
	}
	links := make([]foreign.Manager, len(m.links))
	for i, l := range m.links {
		l.Process = m.process
		links[i] = l
	}
	return links
}

// readLinks reads the files of all links.
func (m *managers) readLinks() {
	m.links = nil
	files, err := os.ReadDir(m.dir)
	if err != nil {
		return
	}
	for _, f := range files {
		index, err := strconv.Atoi(f.Name())
		if err != nil {
			continue
		}
		name := filepath.Join(m.dir, f.Name())
		data, err := os.ReadFile(name)
		if err != nil {
			continue // replaced meanwhile, or gone
		}
		if says := m.says(assignments(data)); says != "" {
			m.links = append(m.links, foreign.Manager{Program: m.program, Index: index, Says: name + ": " + says})
		}
	}
}

// assignments reads lines of KEY=VALUE.
func assignments(data []byte) map[string]string {
	values := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), "="); ok {
			values[k] = v
		}
	}
	return values
}

// runs reports whether the program runs in the namespace of the calling thread.
func (m *managers) runs() bool {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return false
	}
	is := func(pid string) bool {
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil || string(bytes.TrimSpace(comm)) != m.comm {
			return false
		}
		ns, err := os.Readlink("/proc/" + pid + "/ns/net")
		return err == nil && ns == own
	}
	if m.process != 0 && is(strconv.Itoa(m.process)) {
		return true
	}
	if m.process == 0 && time.Since(m.searched) < absentAgain {
		return false
	}
	m.process, m.searched = 0, time.Now()
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return false
	}
	for _, p := range procs {
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil && is(filepath.Base(p)) {
			m.process = pid
			return true
		}
	}
	return false
}
