// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"weft/internal/spec"
)

func isCommand(name string) bool {
	return name == "up" || name == "pre-up" || name == "down" || name == "post-down"
}

// commands translates the commands of all stanzas: first those that set up, then those that undo, which are translated
// if what they undo was.
func (t *translator) commands() {
	for _, up := range []bool{true, false} {
		for _, i := range t.order {
			for _, e := range i.entries {
				if isCommand(e.name) && strings.HasSuffix(e.name, "up") == up {
					t.command(i, e, up)
				}
			}
		}
	}
}

// command translates one line if all its commands are known, or else does nothing of it.
func (t *translator) command(i *iface, e *entry, up bool) {
	simples, ok := commands(e.Value, variables(i))
	if !ok {
		e.fail("only a shell can tell what this does")
		return
	}
	var actions []action
	for _, s := range simples {
		a, why := t.action(e, s, up)
		if why != "" {
			e.fail("%s", why)
			return
		}
		actions = append(actions, a...)
	}
	if !up {
		for _, a := range actions {
			if a.key != "" && !t.applied[a.key] {
				e.fail("no line that was translated does what this undoes")
				return
			}
		}
		e.ok()
		return
	}
	e.ok()
	for _, a := range actions {
		if a.do != nil {
			a.do()
		}
		t.applied[a.key] = true
	}
}

// variables are what ifupdown gives a command: the interface, and its options.
func variables(i *iface) map[string]string {
	v := map[string]string{"IFACE": i.name, "LOGICAL": i.name}
	for _, e := range i.entries {
		if !isCommand(e.name) {
			v["IF_"+strings.ToUpper(strings.ReplaceAll(e.Option.Name, "-", "_"))] = e.Value
		}
	}
	return v
}

// action is what a command does. The key tells what it does it to: the same for the command that undoes it, and empty
// for one that has nothing to undo.
type action struct {
	key string
	do  func()
}

// nothing is what a command does that weft does anyway, or that only ifup needs.
func nothing() []action { return []action{{}} }

// action recognises a command. The second result says why it does not.
func (t *translator) action(e *entry, s simple, up bool) ([]action, string) {
	name, args := path.Base(s.words[0]), s.words[1:]
	if s.to != "" && name != "echo" {
		return nil, "its output goes to a file"
	}
	switch name {
	case "true", ":", "sleep":
		return nothing(), ""
	case "modprobe":
		if len(args) == 1 && slices.Contains([]string{"bonding", "8021q", "bridge", "vrf"}, args[0]) {
			return nothing(), ""
		}
	case "ifup", "ifdown":
		if len(args) == 1 && t.ifaces[args[0]] != nil && t.ifaces[args[0]].kind != absent {
			return nothing(), ""
		}
	case "ip":
		return t.ip(e, args, up)
	case "echo":
		return t.echo(e, args, s.to, up)
	case "sysctl":
		return t.sysctlCommand(e, args, up)
	case "arptables":
		return t.arptables(e, args, up)
	case "ifconfig":
		return t.ifconfig(args, up)
	case "route":
		return t.netRoute(e, args, up)
	case "brctl":
		return t.brctl(args, up)
	case "prv-net-helper":
		return t.privateNetworks(args, up)
	}
	return nil, "weft does not know this command"
}

// echo is "echo VALUE > /proc/sys/…" or the same below /sys/class/net.
func (t *translator) echo(e *entry, args []string, to string, up bool) ([]action, string) {
	if len(args) == 2 && args[0] == "-n" {
		args = args[1:]
	}
	if len(args) != 1 || to == "" {
		return nil, "weft does not know this command"
	}
	to = path.Clean(to)
	if name, ok := strings.CutPrefix(to, "/proc/sys/net/"); ok {
		return t.setSysctl(e, "net/"+name, args[0], up)
	}
	for _, dir := range []string{"/sys/class/net/", "/sys/devices/virtual/net/"} {
		if name, ok := strings.CutPrefix(to, dir); ok {
			return t.sysfs(strings.Split(name, "/"), args[0], up)
		}
	}
	return nil, "weft writes no such file"
}

func (t *translator) setSysctl(e *entry, name, value string, up bool) ([]action, string) {
	key := "sysctl " + name
	if !up {
		return []action{{key: key}}, ""
	}
	return []action{{key, func() { t.sysctl(name, value, e) }}}, ""
}

// sysfs translates what a bridge or a bond has below /sys/class/net/NAME.
func (t *translator) sysfs(p []string, value string, up bool) ([]action, string) {
	if len(p) != 3 || t.ifaces[p[0]] == nil {
		return nil, "weft writes no such file"
	}
	i, key := t.ifaces[p[0]], "sysfs "+strings.Join(p, "/")
	if !up {
		return []action{{key: key}}, ""
	}
	if i.kind == bridge && p[1] == "bridge" && p[2] == "multicast_snooping" && (value == "0" || value == "1") {
		return []action{{key, func() { i.bridge.MulticastSnooping = value == "1" }}}, ""
	}
	setter := bondSetters[strings.ReplaceAll(p[2], "_", "-")]
	if i.kind == bond && p[1] == "bonding" && setter != nil {
		trial := *i.bond
		if err := setter(&trial, value); err != nil {
			return nil, err.Error()
		}
		return []action{{key, func() { *i.bond = trial }}}, ""
	}
	return nil, "weft writes no such file"
}

// sysctlCommand is "sysctl -w NAME=VALUE".
func (t *translator) sysctlCommand(e *entry, args []string, up bool) ([]action, string) {
	var all []action
	for _, a := range args {
		if a == "-w" || a == "-q" || a == "-e" || a == "-qw" || a == "-ew" {
			continue
		}
		name, value, ok := strings.Cut(a, "=")
		p := spec.SysctlPath(name)
		if !ok || !strings.HasPrefix(p, "net/") {
			return nil, "weft sets only net sysctls"
		}
		some, why := t.setSysctl(e, p, value, up)
		if why != "" {
			return nil, why
		}
		all = append(all, some...)
	}
	return all, ""
}

// arptables is the rule of gnt-networking's documentation: the source of the ARP requests that leave by a device.
func (t *translator) arptables(e *entry, args []string, up bool) ([]action, string) {
	const unknown = "weft knows only the arptables rule that mangles the source of requests"
	want := map[string]string{}
	for k := 0; k+1 < len(args); k += 2 {
		name := map[string]string{
			"-A": "chain", "-I": "chain", "-D": "chain", "--append": "chain", "--insert": "chain", "--delete": "chain",
			"-o": "dev", "--out-interface": "dev", "--opcode": "opcode", "-j": "jump", "--jump": "jump", "--mangle-ip-s": "source",
		}[args[k]]
		if _, twice := want[name]; name == "" || twice {
			return nil, unknown
		}
		want[name] = args[k+1]
	}
	opcode := strings.ToLower(want["opcode"])
	if len(args)%2 != 0 || want["chain"] != "OUTPUT" || want["jump"] != "mangle" || want["dev"] == "" || opcode != "1" && opcode != "request" {
		return nil, unknown
	}
	dev := want["dev"]
	if !up {
		return []action{{key: "arp " + dev}}, ""
	}
	source, err := netip.ParseAddr(want["source"])
	if err != nil || !source.Is4() {
		return nil, unknown
	}
	return []action{{"arp " + dev, func() { t.arps = append(t.arps, &arp{dev: dev, source: source, entry: e}) }}}, ""
}

// ifconfig is the part of it that people still use to bring an interface up.
func (t *translator) ifconfig(args []string, up bool) ([]action, string) {
	if len(args) < 2 {
		return nil, "weft does not know this command"
	}
	i := t.iface(args[0])
	mtu := 0
	for k := 1; k < len(args); k++ {
		switch {
		case args[k] == "up" || args[k] == "0.0.0.0" || args[k] == "down" && !up:
		case args[k] == "mtu" && k+1 < len(args):
			n, err := strconv.Atoi(args[k+1])
			if err != nil || n < 68 || n > 65535 {
				return nil, "not an MTU"
			}
			mtu = n
			k++
		default:
			return nil, "weft does not know this command"
		}
	}
	return []action{{do: func() {
		if mtu != 0 {
			i.link.MTU = mtu
		}
	}}}, ""
}

// netRoute is net-tools' route.
func (t *translator) netRoute(e *entry, args []string, up bool) ([]action, string) {
	const unknown = "weft does not know this command"
	if len(args) < 2 || args[0] != "add" && args[0] != "del" || up && args[0] == "del" {
		return nil, unknown
	}
	words := []string{}
	var to, mask string
	for k := 1; k < len(args); k++ {
		switch a := args[k]; a {
		case "-net", "-host":
		case "netmask", "gw", "dev", "metric":
			if k++; k >= len(args) {
				return nil, unknown
			}
			switch a {
			case "netmask":
				mask = args[k]
			case "gw":
				words = append(words, "via", args[k])
			default:
				words = append(words, a, args[k])
			}
		default:
			switch {
			case to == "":
				to = a
			case k == len(args)-1:
				words = append(words, "dev", a)
			default:
				return nil, unknown
			}
		}
	}
	if mask != "" {
		a, err := netip.ParseAddr(to)
		n, ok := maskLength(mask, a)
		if err != nil || !ok {
			return nil, "not a netmask"
		}
		to = fmt.Sprintf("%s/%d", to, n)
	}
	return t.ipRoute(e, append([]string{to}, words...), false, up)
}

// brctl is what people write beside bridge-utils' own options.
func (t *translator) brctl(args []string, up bool) ([]action, string) {
	if len(args) < 3 || t.ifaces[args[1]] == nil || t.ifaces[args[1]].kind != bridge {
		return nil, "weft does not know this command"
	}
	i, key := t.ifaces[args[1]], "port "+args[1]+" "+args[2]
	switch {
	case args[0] == "delif" && !up:
		return []action{{key: key}}, ""
	case args[0] == "addif" && up && len(args) == 3:
		return []action{{key, func() { t.port(i, args[2]) }}}, ""
	case args[0] == "stp" && up && len(args) == 3 && slices.Contains([]string{"on", "yes", "off", "no"}, args[2]):
		return []action{{"", func() { i.bridge.STP = args[2] == "on" || args[2] == "yes" }}}, ""
	}
	return nil, "weft does not know this command"
}

// privateNetworks is gnt-networking's prv-net-helper up PARENT MIN MAX OFFSET [PREFIX].
func (t *translator) privateNetworks(args []string, up bool) ([]action, string) {
	if len(args) < 5 || len(args) > 6 || args[0] != "up" && args[0] != "down" {
		return nil, "weft does not know this command"
	}
	var n [3]int
	for k := range n {
		var err error
		if n[k], err = strconv.Atoi(args[2+k]); err != nil || n[k] < 0 || n[k] > 4094 {
			return nil, "not a number: " + args[2+k]
		}
	}
	if n[0] > n[1] || n[0]+n[2] < 1 || n[1]+n[2] > 4094 {
		return nil, "not VLANs"
	}
	prefix := "prv"
	if len(args) == 6 {
		prefix = args[5]
	}
	key := "prv " + strings.Join(args[1:], " ")
	if !up {
		return []action{{key: key}}, ""
	}
	return []action{{key, func() { t.privateVLANs(args[1], prefix, n[0], n[1], n[2]) }}}, ""
}
