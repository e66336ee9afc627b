#!/bin/sh
# Makes the root file system of a small Debian and writes it to standard output as a tar archive. Runs as root.
# usage: make-rootfs.sh <suite> [<mirror> [<security mirror>]]
# Environment: ROOTFS_CA, a file with the certificates to trust while packages are fetched; the proxy variables.
set -eu

suite=$1
mirror=${2:-}
security=${3:-}

# Not /tmp and not a home: those may be mounted nodev or noexec, where no system can be made.
work=$(mktemp -d /var/lib/mlgate-rootfs.XXXXXX)
root=$work/rootfs

clean() {
	# debootstrap mounts these while it works; when it is interrupted they must go before anything is removed.
	for mounted in proc sys; do
		if mountpoint -q "$root/$mounted"; then umount -l "$root/$mounted"; fi
	done
	rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

# Everything but the archive is for people.
exec 3>&1 1>&2

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
debootstrap --variant=minbase --force-check-gpg --keyring="$keyring" "$suite" "$root" ${mirror:+"$mirror"}

if [ -z "$mirror" ]; then mirror=$(sed -n 's/^deb \([^ ]*\) .*/\1/p' "$root/etc/apt/sources.list"); fi
# Where a mirror carries Debian it carries its security updates beside it.
if [ -z "$security" ]; then security=${mirror%/}-security; fi

run() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C \
	http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" no_proxy="${no_proxy:-}" "$@"; }

# Nothing starts in an image, and nothing that was downloaded stays.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
printf 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin"; };\nAcquire::Languages "none";\n' \
	>"$root/etc/apt/apt.conf.d/mlgate-slim"
printf 'path-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' \
	>"$root/etc/dpkg/dpkg.cfg.d/mlgate-slim"

if [ -n "${ROOTFS_CA:-}" ]; then
	cp "$ROOTFS_CA" "$root/tmp/ca.pem"
	trust='-o Acquire::https::CAInfo=/tmp/ca.pem'
fi
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
printf 'deb %s %s main\ndeb %s %s-updates main\n' "$mirror" "$suite" "$mirror" "$suite" >"$root/etc/apt/sources.list"
printf 'deb %s %s-security main\n' "$security" "$suite" >"$root/etc/apt/sources.list.d/security.list"
# A private mirror may carry the suite and nothing beside it: then its state of the suite is what there is.
# shellcheck disable=SC2086
if ! run apt-get ${trust:-} update; then
	echo "No updates at $mirror, no security updates at $security: going without"
	rm "$root/etc/apt/sources.list.d/security.list"
	printf 'deb %s %s main\n' "$mirror" "$suite" >"$root/etc/apt/sources.list"
	run apt-get ${trust:-} update
fi
run apt-get ${trust:-} --yes dist-upgrade

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log "$root"/var/log/apt "$root"/tmp/* \
	"$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/usr/share/man/* "$root"/usr/share/locale/* \
	"$root"/etc/resolv.conf "$root"/etc/hostname "$root"/etc/machine-id
find "$root/usr/share/doc" -mindepth 2 ! -name copyright ! -type d -delete
find "$root/usr/share/doc" -mindepth 1 -type d -empty -delete
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"

tar --numeric-owner --sort=name --one-file-system -C "$root" -c . >&3
