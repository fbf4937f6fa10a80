# bash completion for ringtftp; made from its table of options.
_ringtftp() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local options=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W 'get put probe --help --version' -- "$cur"))
        return
    fi
    case $prev in
    --output|-o|--list|-l) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --output-dir|-O) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --mode|-m) COMPREPLY=($(compgen -W 'octet netascii' -- "$cur")); return ;;
    --jobs|-j|--max-size|--sha256|--blksize|-b|--windowsize|-w|--timeout|-t|--retries|-r|--rollover|--local-port|--bind) return ;;
    esac
    case ${COMP_WORDS[1]} in
    get) options='--output -o --output-dir -O --no-clobber -n --jobs -j --list -l --max-size --sha256 --blksize -b --windowsize -w --timeout -t --no-tsize --no-options --mode -m --retries -r --rollover --local-port --bind --ipv4 -4 --ipv6 -6 --quiet -q --verbose -v --json --resume -C --version -V --help -h' ;;
    put) options='--jobs -j --list -l --max-size --blksize -b --windowsize -w --timeout -t --no-tsize --no-options --mode -m --retries -r --rollover --local-port --bind --ipv4 -4 --ipv6 -6 --quiet -q --verbose -v --json --resume -C --version -V --help -h' ;;
    probe) options='--blksize -b --windowsize -w --timeout -t --no-tsize --no-options --mode -m --retries -r --local-port --bind --ipv4 -4 --ipv6 -6 --quiet -q --verbose -v --json --version -V --help -h' ;;
    esac
    case $cur in
    -*) COMPREPLY=($(compgen -W "$options" -- "$cur")) ;;
    *)
        if [ "${COMP_WORDS[1]}" = put ]; then
            COMPREPLY=($(compgen -f -- "$cur"))
        fi
        ;;
    esac
}
complete -o filenames -F _ringtftp ringtftp
