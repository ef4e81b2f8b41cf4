# Says which flags are missing that the tool must have. Where arguments are given as a whole, fastmcp looks at them.
check() {
  lacking=
  [ -n "$whole" ] || needs
  [ -z "$lacking" ] || misuse "missing:$lacking; '$self $command --help' shows what there is"
}

need() {
  case $given in
  *" $1 "*) ;;
  *) lacking="$lacking $2" ;;
  esac
}

tool=0
command=
given=' '
whole=
left=$#
if [ "$left" = 0 ]; then
  usage >&2
  exit 2
fi

# Each word is taken from the front, and what it means to fastmcp is put behind the others.
while [ "$left" -gt 0 ]; do
  word=$1
  shift
  left=$((left - 1))
  kind=none
  case $tool$word in
  0*) ;;
  *[0-9]--*) flag "${word%%=*}" ;;
  esac
  if [ "$kind" != none ]; then
    case $kind$word in
    *=*) value=${word#*=} ;;
    switch*) value=true ;;
    *)
      [ "$left" -gt 0 ] || misuse "$word takes a value"
      value=$1
      shift
      left=$((left - 1))
      ;;
    esac
    choice
    given="$given$id "
    set -- "$@" "$argument=$value"
    continue
  fi
  case $word in
  --help | -h)
    if [ "$tool" = 0 ]; then usage; else explain; fi
    exit 0
    ;;
  --json | --verbose | --output-dir=* | --elicit=*) set -- "$@" "$word" ;;
  --output-dir | --elicit)
    [ "$left" -gt 0 ] || misuse "$word takes a value"
    set -- "$@" "$word=$1"
    shift
    left=$((left - 1))
    ;;
  --list)
    [ "$left$tool" = 00 ] || misuse '--list stands alone'
    reach list "$@"
    ;;
  --resource | --prompt)
    [ "$tool" = 0 ] || misuse "$word stands before a tool"
    [ "$left" -gt 0 ] || misuse "$word takes a value"
    set -- "$@" "$word=$1"
    shift
    reach call "$@"
    ;;
  --resource=* | --prompt=*)
    [ "$tool" = 0 ] || misuse "${word%%=*} stands before a tool"
    set -- "$@" "$word"
    reach call "$@"
    ;;
  --json-args | --args-file)
    [ "$tool" != 0 ] || misuse "$word stands after a tool"
    [ "$left" -gt 0 ] || misuse "$word takes a value"
    whole=yes
    set -- "$@" "$word=$1"
    shift
    left=$((left - 1))
    ;;
  --json-args=* | --args-file=*)
    [ "$tool" != 0 ] || misuse "${word%%=*} stands after a tool"
    whole=yes
    set -- "$@" "$word"
    ;;
  -*)
    if [ "$tool" = 0 ]; then
      misuse "there is no option '${word%%=*}'; '$self --help' shows those that there are"
    fi
    misuse "'$command' has no flag '${word%%=*}'; '$self $command --help' shows those that it has"
    ;;
  *)
    [ "$tool" = 0 ] || misuse "'$word' belongs to no flag; '$self $command --help' shows those that there are"
    number "$word"
    [ "$tool" != 0 ] || misuse "there is no tool '$word'; '$self --help' shows those that there are"
    command=$word
    set -- "$@" "$word"
    ;;
  esac
done
[ "$tool" != 0 ] || misuse "say which tool is called; '$self --help' shows those that there are"
check
reach call "$@"
