#!/bin/sh
# A base image for machines without a registry: base.sh NAME. Debian 12 with its Python, made by debootstrap (as root).
set -eu
name=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root"
# debootstrap takes names of this machine and its network along.
rm -rf "$root"/etc/hostname "$root"/etc/resolv.conf "$root"/var/log/*
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/man "$root"/usr/share/locale
tar -C "$root" -c . | ${DOCKER:-docker} import - "$name"
