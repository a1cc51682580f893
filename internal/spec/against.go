// SPDX-License-Identifier: Apache-2.0

package spec

// CheckAgainst returns every interface that the file takes for existing and that does not exist on this node, and an Errors
// that says where the file does so, or nil. exists reports whether the node has an interface of that name. The devices of
// networks that are not managed may come and go.
func CheckAgainst(node *Node, exists func(name string) bool) (absent []string, err error) {
	c := &checker{node: node, src: node.src, nets: inOrder(node.src, "networks", node.Networks)}
	c.collect()
	c.errs = nil // Parse has said all of it
	need := func(name string, p path) {
		if name == "" || c.made(name) || exists(name) {
			return
		}
		c.fail(p, "no interface %s on this node", name)
		absent = append(absent, name)
	}
	for _, name := range inOrder(node.src, "links", node.Links) {
		need(name, at("links", name))
	}
	for _, name := range inOrder(node.src, "bonds", node.Bonds) {
		for i, member := range node.Bonds[name].Members {
			need(member, at("bonds", name, "members").index(i))
		}
	}
	for _, name := range inOrder(node.src, "bridges", node.Bridges) {
		for i, port := range node.Bridges[name].Ports {
			need(port, at("bridges", name, "ports").index(i))
		}
	}
	for _, name := range inOrder(node.src, "vlans", node.VLANs) {
		need(node.VLANs[name].ParentName(name), at("vlans", name, "parent"))
	}
	for _, name := range c.nets {
		for _, l := range node.Networks[name].legs() {
			if node.Networks[name].IsManaged() {
				need(l.uplink, l.key(at("networks", name), "uplink"))
			}
		}
	}
	return absent, c.errs.err()
}

// made reports whether weft makes the interface, by the file.
func (c *checker) made(name string) bool {
	_, described := c.devices[name]
	return described && c.node.Links[name] == nil
}
