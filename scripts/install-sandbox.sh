#!/bin/sh
# Bubblewrap is the strong sandbox on Linux. Install it where we may; else name the one command that does.
[ "$(uname -s)" = Linux ] || exit 0
missing=""
command -v bwrap >/dev/null 2>&1 || missing="bubblewrap"
library=""
for file in /usr/lib/*/libseccomp.so.2 /usr/lib*/libseccomp.so.2 /lib/*/libseccomp.so.2; do
    [ ! -e "$file" ] || library=$file
done
[ -n "$library" ] || missing="$missing libseccomp2"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then as=""; elif sudo -n true 2>/dev/null; then as="sudo -n"; else as="no"; fi
if command -v apt-get >/dev/null 2>&1; then
    install="apt-get install -y -qq $missing"
    before="apt-get update -qq"
elif command -v dnf >/dev/null 2>&1; then
    install="dnf install -y -q bubblewrap libseccomp"; before=true
elif command -v pacman >/dev/null 2>&1; then
    install="pacman -S --noconfirm bubblewrap libseccomp"; before=true
elif command -v apk >/dev/null 2>&1; then
    install="apk add bubblewrap libseccomp"; before=true
else
    install="(your package manager) install bubblewrap libseccomp"; as="no"
fi
if [ "$as" = "no" ]; then
    echo "note: the strong sandbox needs $missing. As root: $install" >&2
    echo "      Until then PerfOrch uses the weaker base sandbox and says so." >&2
    exit 0
fi
echo "installing $missing (the sandbox) ..." >&2
{ $as $before && $as env DEBIAN_FRONTEND=noninteractive $install; } >/dev/null 2>&1 ||
    echo "note: '$install' failed; run it yourself for the strong sandbox. PerfOrch falls back to the base sandbox." >&2
exit 0
