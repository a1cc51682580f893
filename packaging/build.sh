#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# build.sh: make bin/weft_VERSION_ARCH.deb of the checkout. VERSION and the time of its files come from git: the same commit makes
# the same package. GOARCH=arm64 makes that of another machine. Needs Go and what is on every Debian; no root.
set -eu

nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4

# version prints Debian's name of a commit: 1.2 of tag v1.2, 1.2+5.g7a5fa79 five commits later, and before the first tag
# 0~git20261130025855.7a5fa79, which is older than any tag.
version() {
	if tag=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
		echo "${tag#v}" | sed 's/-\([0-9]*\)-g\([0-9a-f]*\)$/+\1.g\2/; s/-/~/g'
	else
		echo "0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$(git rev-parse --short=7 HEAD)"
	fi
}

git rev-parse --verify -q HEAD >/dev/null || { echo "build.sh: not a git checkout: the package's version comes from git" >&2 && exit 1; }
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
VERSION=${VERSION:-$(version)$(git diff --quiet HEAD || echo +changed)}
ARCH=$(go env GOARCH)
export VERSION ARCH CGO_ENABLED=0

out=bin/deb
rm -rf $out bin/weft_*.deb
mkdir -p $out
go build -trimpath -ldflags '-s -w' -o $out/weft ./cmd/weft
unset GOOS GOARCH # what follows runs here

go run -trimpath ./cmd/weft man $out/man
gzip -9n $out/man/*.8
for shell in bash zsh fish; do go run -trimpath ./cmd/weft completion $shell >$out/completion.$shell; done
go run -trimpath ./cmd/weft schema >$out/node.schema.json
gzip -9n >$out/changelog.gz <<EOT
weft ($VERSION) unstable; urgency=medium

  * $(git log -1 --format=%s)

 -- The weft authors <weft@example.org>  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
EOT
deb=bin/weft_${VERSION}_$ARCH.deb
go run $nfpm package --config packaging/nfpm.yaml --packager deb --target "$deb" >/dev/null
echo "$deb"
