// SPDX-License-Identifier: Apache-2.0

// Package libvirt is what libvirt's hook for QEMU guests needs: it reads the domain XML that libvirt gives to the hook,
// finds the interfaces that are weft's with their networks and addresses, and plugs them in and out as the guest starts,
// arrives, leaves and ends.
//
// It owns the element <nics xmlns="urn:weft:1"> of a domain's metadata, the marks of guests that are arriving, and the
// small script that libvirt runs. It never calls libvirt (which waits for the hook, so that both would wait for ever),
// and never touches a kernel: the node that it is given does.
package libvirt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
)

// Namespace is the XML namespace of weft's element in a domain's metadata.
const Namespace = "urn:weft:1"

// maxXML is how much of a domain's XML is read, in bytes. Some hundred disks make a few hundred KiB.
const maxXML = 8 << 20

// Domain is what a hook needs of a guest's live XML (libvirt's formatdomain).
type Domain struct {
	Name       string
	UUID       uuid.UUID
	Interfaces []Interface
	Wanted     []Wanted // of the metadata
}

// Interface is an <interface> of a domain.
type Interface struct {
	Type   string // "ethernet", "bridge", "network", ...
	MAC    string // as libvirt writes it: lower case, colons
	Target string // the tap; "" before libvirt made it and, for the names that libvirt chose, after it went
	Bridge string // the bridge that libvirt made the tap a port of, "" for none
	VLANs  []int  // of <vlan>, in order
}

// Wanted is what the metadata says of the interface with this MAC.
type Wanted struct {
	MAC, Network        string
	Addresses, Prefixes []string
}

// The XML itself.
type (
	domainXML struct {
		XMLName  xml.Name `xml:"domain"`
		Name     string   `xml:"name"`
		UUID     string   `xml:"uuid"`
		Metadata struct {
			NICs []nicsXML `xml:"urn:weft:1 nics"`
		} `xml:"metadata"`
		Interfaces []interfaceXML `xml:"devices>interface"`
	}
	interfaceXML struct {
		Type string `xml:"type,attr"`
		MAC  struct {
			Address string `xml:"address,attr"`
		} `xml:"mac"`
		Source struct {
			Bridge string `xml:"bridge,attr"`
		} `xml:"source"`
		Target struct {
			Dev string `xml:"dev,attr"`
		} `xml:"target"`
		VLANs []struct {
			ID int `xml:"id,attr"`
		} `xml:"vlan>tag"`
	}
	nicsXML struct {
		NICs   []nicXML   `xml:"urn:weft:1 nic"`
		Others []otherXML `xml:",any"`
	}
	nicXML struct {
		MAC       string     `xml:"mac,attr"`
		Network   string     `xml:"network,attr"`
		Attrs     []xml.Attr `xml:",any,attr"`
		Addresses []string   `xml:"urn:weft:1 ip"`
		Prefixes  []string   `xml:"urn:weft:1 prefix"`
		Others    []otherXML `xml:",any"`
	}
	otherXML struct {
		XMLName xml.Name
	}
)

// ParseDomain reads a guest's XML. What it says beyond the guest's name, UUID, interfaces and weft's metadata is passed
// over; an element or an attribute of weft's that does not exist is an error.
func ParseDomain(r io.Reader) (*Domain, error) {
	limited := &io.LimitedReader{R: r, N: maxXML + 1}
	var x domainXML
	if err := xml.NewDecoder(limited).Decode(&x); err != nil {
		switch {
		case limited.N <= 0:
			return nil, fmt.Errorf("read the domain XML: more than %d bytes", maxXML)
		case errors.Is(err, io.EOF):
			return nil, errors.New("read the domain XML: there is none on standard input")
		}
		return nil, fmt.Errorf("read the domain XML: %w", err)
	}
	id, err := uuid.Parse(strings.TrimSpace(x.UUID))
	if err != nil {
		return nil, fmt.Errorf("read the domain XML: uuid %.80q: %w", x.UUID, err)
	}
	d := &Domain{Name: x.Name, UUID: id}
	for _, i := range x.Interfaces {
		one := Interface{Type: i.Type, MAC: strings.ToLower(i.MAC.Address), Target: i.Target.Dev, Bridge: i.Source.Bridge}
		for _, tag := range i.VLANs {
			one.VLANs = append(one.VLANs, tag.ID)
		}
		d.Interfaces = append(d.Interfaces, one)
	}
	for _, n := range x.Metadata.NICs {
		if len(n.Others) > 0 {
			return nil, fmt.Errorf("metadata of %s: <nics> has <%s>: only <nic> is known", d.Name, n.Others[0].XMLName.Local)
		}
		for _, nic := range n.NICs {
			w, err := nic.wanted()
			if err != nil {
				return nil, fmt.Errorf("metadata of %s: %w", d.Name, err)
			}
			d.Wanted = append(d.Wanted, w)
		}
	}
	return d, nil
}

func (n *nicXML) wanted() (Wanted, error) {
	w := Wanted{MAC: strings.ToLower(n.MAC), Network: n.Network}
	switch {
	case n.MAC == "":
		return w, errors.New("a <nic> has no mac")
	case n.Network == "":
		return w, fmt.Errorf("<nic mac=%q> has no network", n.MAC)
	case len(n.Others) > 0:
		return w, fmt.Errorf("<nic mac=%q> has <%s>: only <ip> and <prefix> are known", n.MAC, n.Others[0].XMLName.Local)
	}
	for _, a := range n.Attrs {
		if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
			return w, fmt.Errorf("<nic mac=%q> has %s=: only mac and network are known", n.MAC, a.Name.Local)
		}
	}
	for _, s := range n.Addresses {
		w.Addresses = append(w.Addresses, strings.TrimSpace(s))
	}
	for _, s := range n.Prefixes {
		w.Prefixes = append(w.Prefixes, strings.TrimSpace(s))
	}
	return w, nil
}
