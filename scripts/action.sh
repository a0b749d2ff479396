#!/usr/bin/env bash
# The steps of action.yml: install, gate, post. What others chose (branches, expressions, names) arrives in environment
# variables and is never part of a command's text.
set -euo pipefail

tools="$RUNNER_TEMP/zeroulp-tools/bin"
results="$RUNNER_TEMP/zeroulp-gate"

refuse() {
  echo "zeroulp action: $1"
  exit 2
}

install() {
  [[ "$EXTRAS" =~ ^[a-z0-9,]*$ ]] || refuse "extras: expected names such as cuda13"
  python -m venv "${tools%/bin}"
  "$tools/pip" install --quiet uv "$GITHUB_ACTION_PATH${EXTRAS:+[$EXTRAS]}"
}

# A branch that is only behind its base has changed nothing: of two commits, head's own base is measured.
merge_base() {
  git merge-base "$BASE" "$HEAD" 2>/dev/null || printf '%s\n' "$BASE"
}

gate() {
  [ -n "$BASE" ] && [ -n "$HEAD" ] || refuse "base and head: both are needed"
  [[ "$BASE" != -* && "$HEAD" != -* ]] || refuse "base and head: expected no options"
  local options=(--device "$DEVICE" --out "$results") code=0 shown=0
  [ -z "$MATRIX" ] || options+=(--matrix "$MATRIX")
  [ -z "$WHERE" ] || options+=(--where "$WHERE")
  [ -z "$ACCEPT" ] || options+=(--accept "$ACCEPT")
  [ -z "$POLICY" ] || options+=(--policy "$POLICY")
  [ -z "$NOISE" ] || options+=(--noise "$NOISE")
  "$tools/zeroulp" gate "${options[@]}" -- "$(merge_base)" "$HEAD" || code=$?
  "$tools/zeroulp" report pr "$results" || shown=$?
  [ "$code" -ne 0 ] || code=$shown
  printf 'exit-code=%d\nfolder=%s\n' "$code" "$results" >>"$GITHUB_OUTPUT"
  [ ! -f "$results/pr.md" ] || cat "$results/pr.md" >>"$GITHUB_STEP_SUMMARY"
  if [ "$code" -eq 3 ]; then
    echo "::notice title=zeroulp gate::cannot tell: neither pass nor failure"
    code=0
  fi
  exit "$code"
}

post() {
  "$tools/zeroulp" report post "$results"
}

case "${1:-}" in
  install | gate | post) "$1" ;;
  *) refuse "expected install, gate or post" ;;
esac
