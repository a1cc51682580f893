// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// procSys is where settings are files.
const procSys = "/proc/sys/"

// Positions in IFLA_INET_CONF (IPV4_DEVCONF_* of linux/ip.h, less 1).
var conf4 = map[string]int{
	"forwarding": 0, "proxy_arp": 2, "accept_redirects": 3, "secure_redirects": 4, "send_redirects": 5, "shared_media": 6,
	"rp_filter": 7, "accept_source_route": 8, "log_martians": 10, "arp_filter": 12, "arp_announce": 17, "arp_ignore": 18,
	"promote_secondaries": 19, "arp_accept": 20, "arp_notify": 21, "accept_local": 22, "src_valid_mark": 23,
	"proxy_arp_pvlan": 24, "route_localnet": 25,
}

// Positions in IFLA_INET6_CONF (DEVCONF_* of linux/ipv6.h).
var conf6 = map[string]int{
	"forwarding": 0, "accept_ra": 3, "accept_redirects": 4, "autoconf": 5, "dad_transmits": 6, "accept_ra_defrtr": 17,
	"accept_ra_pinfo": 18, "proxy_ndp": 22, "accept_source_route": 24, "disable_ipv6": 26, "accept_dad": 27,
	"ndisc_notify": 29, "keep_addr_on_down": 42, "addr_gen_mode": 47,
}

// observeSysctls puts the settings that want names. The dump of the links has most of them; the rest are files.
func (h *Host) observeSysctls(ctx context.Context, s *netstate.State, ls links, want *netstate.State) error {
	if want == nil {
		return nil
	}
	byName := make(map[string]*rawLink, len(ls.all))
	for i := range ls.all {
		byName[ls.all[i].Name] = &ls.all[i]
	}
	var all, files, delays []netstate.Sysctl
	for w := range netstate.Of[netstate.Sysctl](want) {
		if w.Dev() == "" || byName[w.Dev()] != nil {
			all = append(all, w)
		}
		dev, p := w.Dev(), strings.Split(w.Path, "/")
		switch l := byName[dev]; {
		case dev != "" && l == nil: // the link does not exist, nor does its setting
		case dev != "" && p[2] == "neigh" && p[4] == "proxy_delay":
			delays = append(delays, w)
		default:
			value, ok := "", false
			if l != nil && p[2] == "conf" {
				value, ok = l.setting(p[1], p[4])
			}
			switch {
			case ok && w.Path == disableIPv6(dev) && value == "0" && ls.flushed(l, byName): // it does not hold
			case ok:
				s.Put(netstate.Sysctl{Path: w.Path, Value: value})
			default:
				files = append(files, w)
			}
		}
	}
	h.thread.do(func() {
		h.written.follow(all, func(dev string) int {
			if l := byName[dev]; l != nil {
				return int(l.index)
			}
			return 0
		})
	})
	if err := h.proxyDelays(ctx, s, ls, delays); err != nil {
		return err
	}
	return h.readFiles(s, files)
}

func disableIPv6(dev string) string { return "net/ipv6/conf/" + dev + "/disable_ipv6" }

// setting returns a setting of the link that its message told.
func (l *rawLink) setting(family, name string) (string, bool) {
	conf, at := l.conf4, conf4
	if family == "ipv6" {
		conf, at = l.conf6, conf6
	}
	i, ok := at[name]
	if !ok || len(conf) < 4*i+4 {
		return "", false
	}
	return strconv.Itoa(int(int32(native.Uint32(conf[4*i:])))), true
}

// proxyDelays reads net/ipv?/neigh/DEV/proxy_delay of all links at once.
func (h *Host) proxyDelays(ctx context.Context, s *netstate.State, ls links, wanted []netstate.Sysctl) error {
	if len(wanted) == 0 {
		return nil
	}
	type ndtHeader struct { // struct ndtmsg
		Family uint8
		_      [3]uint8
	}
	bodies, err := h.dump(ctx, unix.RTM_GETNEIGHTBL, *newMessage(&ndtHeader{}))
	if err != nil {
		return err
	}
	delay := make(map[string]string, len(bodies))
	for _, b := range bodies {
		if len(b) < 4 {
			continue
		}
		family := "ipv4"
		if b[0] == unix.AF_INET6 {
			family = "ipv6"
		}
		for typ, v := range attrs(b[4:]) {
			if typ != ndtaParms {
				continue
			}
			var dev, ms = "", uint64(0)
			for typ, v := range attrs(v) {
				switch typ {
				case ndtpaIfindex:
					dev = ls.name[int32(getU32(v))]
				case ndtpaProxyDelay:
					ms = getU64(v)
				}
			}
			delay["net/"+family+"/neigh/"+dev+"/proxy_delay"] = strconv.FormatUint(ms*userHZ/1000, 10)
		}
	}
	for _, w := range wanted {
		if v, ok := delay[w.Path]; ok {
			s.Put(netstate.Sysctl{Path: w.Path, Value: v})
		}
	}
	return nil
}

// readFiles reads settings from their files; one that does not exist is left out, unless it is the machine's.
func (h *Host) readFiles(s *netstate.State, wanted []netstate.Sysctl) error {
	var failed []error
	h.thread.do(func() {
		for _, w := range wanted {
			b, err := readSetting(w.Path)
			switch {
			case errors.Is(err, fs.ErrNotExist) && ofMachine(w.Path):
				s.Put(w)
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				failed = append(failed, fmt.Errorf("read sysctl %s: %w", w.Path, unwrapPath(err)))
			default:
				s.Put(netstate.Sysctl{Path: w.Path, Value: b})
			}
		}
	})
	return errors.Join(failed...)
}

// ofMachine reports whether a setting is one for all namespaces and shows in the first one alone: the limits of the
// neighbour tables (net/core/neighbour.c). In a container or a lab there is nothing to set, and so nothing to want.
func ofMachine(p string) bool {
	return strings.HasPrefix(p, "net/ipv4/neigh/default/gc_") || strings.HasPrefix(p, "net/ipv6/neigh/default/gc_")
}

func readSetting(p string) (string, error) {
	file, err := settingFile(p)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(file)
	return strings.Join(strings.Fields(string(b)), " "), err
}

// settingFile returns the file of a setting; only settings of the network can be meant.
func settingFile(p string) (string, error) {
	if path.Clean("/"+p) != "/"+p || !strings.HasPrefix(p, "net/") {
		return "", unix.EINVAL
	}
	return procSys + p, nil
}

func (h *Host) setSysctl(w netstate.Sysctl) error {
	file, err := settingFile(w.Path)
	if err != nil {
		return err
	}
	values := []string{w.Value}
	h.thread.do(func() {
		if now, err := readSetting(w.Path); err == nil && now == "0" && w.Value == "0" && w.Path == disableIPv6(w.Dev()) {
			values = []string{"1", "0"} // it was flushed, and is made anew
		}
		for _, v := range values {
			var f *os.File
			if f, err = os.OpenFile(file, os.O_WRONLY, 0); err != nil {
				return
			}
			_, err = f.WriteString(v + "\n")
			if err = errors.Join(err, f.Close()); err != nil {
				return
			}
		}
	})
	return unwrapPath(err)
}

// unwrapPath takes the error out of a file operation: the caller names the setting.
func unwrapPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
