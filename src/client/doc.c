#include "client/doc.h"

#include <ctype.h>
#include <string.h>

#include "client/status.h"

#define HELP_COLUMN 30
#define HELP_WIDTH  92

static const enum client_command all_commands[] = {CLIENT_GET, CLIENT_PUT, CLIENT_PROBE};

/* ---- --help ---- */

static const char usage[] =
    "Usage: ringtftp get   [OPTIONS] HOST[:PORT]:FILE... [-o FILE | -O DIR | -]\n"
    "       ringtftp put   [OPTIONS] FILE... HOST[:PORT]:[DIR/]\n"
    "       ringtftp probe [OPTIONS] HOST[:PORT]:FILE...\n"
    "\n"
    "A TFTP client. A remote file may also be written as tftp://HOST[:PORT]/FILE[;mode=MODE];\n"
    "IPv6 addresses stand in brackets. put: FILE is - for standard input.\n";

/* The text in lines, all but the first behind `column` spaces. */
static void wrap(FILE *out, const char *text, int column)
{
    int at = column;

    while (*text) {
        int n = (int)strcspn(text, " ");
        if (at > column && at + 1 + n > HELP_WIDTH) {
            fprintf(out, "\n%*s", column, "");
            at = column;
        } else if (at > column) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", n, text);
        at += n;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void help_option(FILE *out, const struct client_option *o)
{
    int n = fprintf(out, o->letter ? "  -%c, " : "      ", o->letter);

    n += fprintf(out, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
    if (n >= HELP_COLUMN)
        fprintf(out, "\n%*s", HELP_COLUMN, "");
    else
        fprintf(out, "%*s", HELP_COLUMN - n, "");
    wrap(out, o->doc, HELP_COLUMN);
}

static void help_group(FILE *out, unsigned mask, unsigned command, const char *title)
{
    bool any = false;

    for (unsigned i = 0; i < client_option_count; i++) {
        const struct client_option *o = &client_options[i];
        if (o->commands != mask || (command && !(o->commands & command)))
            continue;
        if (!any)
            fprintf(out, "\n%s\n", title);
        any = true;
        help_option(out, o);
    }
}

void client_doc_help(FILE *out, unsigned command)
{
    fputs(usage, out);
    help_group(out, CLIENT_GET, command, "Options of get:");
    help_group(out, CLIENT_TRANSFERS, command, "Options of get and put:");
    help_group(out, CLIENT_ALL, command, "Options of all commands:");
    fputs("\nExit codes: ", out);
    for (unsigned i = 0; i < client_status_count; i++)
        fprintf(out, "%s%d %s",
                i == 0       ? ""
                : i % 6 == 0 ? ",\n            "
                             : ", ",
                (int)client_statuses[i].status, client_statuses[i].name);
    fputc('\n', out);
}

/* ---- The manual page (mdoc) ---- */

/* Each sentence on a line of its own, so that the formatter sees its end. */
static void sentences(FILE *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (p[0] == ' ' && p > text && (p[-1] == '.' || p[-1] == ';'))
            fputc('\n', out);
        else if (*p == '-' && p > text && p[-1] == ' ')
            fputs("\\-", out);
        else
            fputc(*p, out);
    }
    fputc('\n', out);
}

static void mdoc_value(FILE *out, const char *value)
{
    if (!value)
        return;
    fputs(" Ar ", out);
    for (; *value; value++)
        fputc(tolower((unsigned char)*value), out);
}

void client_doc_manual_options(FILE *out)
{
    fputs(".Bl -tag -width Ds\n", out);
    for (unsigned i = 0; i < client_option_count; i++) {
        const struct client_option *o = &client_options[i];

        fputs(".It", out);
        if (o->letter) {
            fprintf(out, " Fl %c", o->letter);
            mdoc_value(out, o->value);
            fputs(" ,", out);
        }
        fprintf(out, " Fl -%s", o->name);
        mdoc_value(out, o->value);
        fputc('\n', out);
        if (o->commands != CLIENT_ALL) {
            fputc('(', out);
            for (size_t c = 0, n = 0; c < ARRAY_LEN(all_commands); c++)
                if (o->commands & all_commands[c])
                    fprintf(out, "%s%s", n++ ? ", " : "", client_command_name(all_commands[c]));
            fputs(")\n", out);
        }
        sentences(out, o->doc);
    }
    fputs(".El\n", out);
}

void client_doc_manual_codes(FILE *out)
{
    fputs(".Bl -tag -width Ds\n", out);
    for (unsigned i = 0; i < client_status_count; i++) {
        const struct client_status_row *r = &client_statuses[i];

        fprintf(out, ".It %d Pq %s\n", (int)r->status, r->name);
        sentences(out, r->doc);
    }
    fputs(".El\n", out);
}

/* ---- Shells ---- */

/* The first sentence, without its full stop. */
static int brief(const char *doc)
{
    const char *end = strstr(doc, ". ");

    return end ? (int)(end - doc) : (int)strlen(doc) - 1;
}

static void print_names(FILE *out, unsigned command)
{
    for (unsigned i = 0, n = 0; i < client_option_count; i++) {
        const struct client_option *o = &client_options[i];
        if (!(o->commands & command))
            continue;
        fprintf(out, "%s--%s", n++ ? " " : "", o->name);
        if (o->letter)
            fprintf(out, " -%c", o->letter);
    }
}

/* Patterns of a case branch: all options of one kind of value. */
static bool print_patterns(FILE *out, enum client_complete kind)
{
    bool any = false;

    for (unsigned i = 0; i < client_option_count; i++) {
        const struct client_option *o = &client_options[i];
        if (!o->value || o->complete != kind)
            continue;
        fprintf(out, "%s--%s", any ? "|" : "", o->name);
        if (o->letter)
            fprintf(out, "|-%c", o->letter);
        any = true;
    }
    return any;
}

void client_doc_bash(FILE *out)
{
    fputs("# bash completion for ringtftp; made from its table of options.\n"
          "_ringtftp() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
          "    local options=\n"
          "    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W 'get put probe --help --version' -- \"$cur\"))\n"
          "        return\n"
          "    fi\n"
          "    case $prev in\n    ",
          out);
    print_patterns(out, COMPLETE_FILES);
    fputs(") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n    ", out);
    print_patterns(out, COMPLETE_FOLDERS);
    fputs(") COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n    ", out);
    print_patterns(out, COMPLETE_MODES);
    fputs(") COMPREPLY=($(compgen -W 'octet netascii' -- \"$cur\")); return ;;\n    ", out);
    print_patterns(out, COMPLETE_NOTHING);
    fputs(") return ;;\n"
          "    esac\n"
          "    case ${COMP_WORDS[1]} in\n",
          out);
    for (size_t c = 0; c < ARRAY_LEN(all_commands); c++) {
        fprintf(out, "    %s) options='", client_command_name(all_commands[c]));
        print_names(out, all_commands[c]);
        fputs("' ;;\n", out);
    }
    fputs("    esac\n"
          "    case $cur in\n"
          "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")) ;;\n"
          "    *)\n"
          "        if [ \"${COMP_WORDS[1]}\" = put ]; then\n"
          "            COMPREPLY=($(compgen -f -- \"$cur\"))\n"
          "        fi\n"
          "        ;;\n"
          "    esac\n"
          "}\n"
          "complete -o filenames -F _ringtftp ringtftp\n",
          out);
}

/* Inside single quotes; zsh also gives a meaning to colons and brackets there. */
static void quoted(FILE *out, const char *text, int n, const char *escape)
{
    for (int i = 0; i < n; i++) {
        if (text[i] == '\'')
            fputs("'\\''", out);
        else if (strchr(escape, text[i]))
            fprintf(out, "\\%c", text[i]);
        else
            fputc(text[i], out);
    }
}

static void zsh_value(FILE *out, const struct client_option *o)
{
    static const char *const actions[] = {
        [COMPLETE_NOTHING] = "",
        [COMPLETE_FILES] = "_files",
        [COMPLETE_FOLDERS] = "_files -/",
        [COMPLETE_MODES] = "(octet netascii)",
    };

    if (!o->value)
        return;
    fputc(':', out);
    quoted(out, o->value, (int)strlen(o->value), ":[]");
    fprintf(out, ":%s", actions[o->complete]);
}

static void zsh_option(FILE *out, const struct client_option *o)
{
    for (int longer = 0; longer < 2; longer++) {
        if (!longer && !o->letter)
            continue;
        fputs("        '", out);
        if (o->letter)
            fprintf(out, "(-%c --%s)", o->letter, o->name);
        if (longer)
            fprintf(out, "--%s", o->name);
        else
            fprintf(out, "-%c", o->letter);
        fputc('[', out);
        quoted(out, o->doc, brief(o->doc), "[]");
        fputc(']', out);
        zsh_value(out, o);
        fputs("' \\\n", out);
    }
}

void client_doc_zsh(FILE *out)
{
    fputs("#compdef ringtftp\n"
          "# zsh completion for ringtftp; made from its table of options.\n"
          "_ringtftp() {\n"
          "    if (( CURRENT == 2 )); then\n"
          "        _values command 'get[fetch files]' 'put[send files]' "
          "'probe[ask what the server would do]'\n"
          "        return\n"
          "    fi\n"
          "    local command=$words[2]\n"
          "    shift words\n"
          "    (( CURRENT-- ))\n"
          "    case $command in\n",
          out);
    for (size_t c = 0; c < ARRAY_LEN(all_commands); c++) {
        fprintf(out, "    %s) _arguments -s \\\n", client_command_name(all_commands[c]));
        for (unsigned i = 0; i < client_option_count; i++)
            if (client_options[i].commands & all_commands[c])
                zsh_option(out, &client_options[i]);
        fprintf(out, "        '*:%s' ;;\n",
                all_commands[c] == CLIENT_PUT ? "file:_files" : "remote file:");
    }
    fputs("    esac\n"
          "}\n"
          "_ringtftp \"$@\"\n",
          out);
}

static void fish_option(FILE *out, const struct client_option *o)
{
    fputs("complete -c ringtftp -n '__fish_seen_subcommand_from", out);
    for (size_t c = 0; c < ARRAY_LEN(all_commands); c++)
        if (o->commands & all_commands[c])
            fprintf(out, " %s", client_command_name(all_commands[c]));
    fprintf(out, "' -l %s", o->name);
    if (o->letter)
        fprintf(out, " -s %c", o->letter);
    if (o->value && o->complete == COMPLETE_FILES)
        fputs(" -r -F", out);
    else if (o->value && o->complete == COMPLETE_FOLDERS)
        fputs(" -x -a '(__fish_complete_directories)'", out);
    else if (o->value && o->complete == COMPLETE_MODES)
        fputs(" -x -a 'octet netascii'", out);
    else if (o->value)
        fputs(" -x", out);
    fputs(" -d '", out);
    for (int i = 0; i < brief(o->doc); i++) {
        if (o->doc[i] == '\'' || o->doc[i] == '\\')
            fputc('\\', out);
        fputc(o->doc[i], out);
    }
    fputs("'\n", out);
}

void client_doc_fish(FILE *out)
{
    fputs("# fish completion for ringtftp; made from its table of options.\n"
          "complete -c ringtftp -f\n"
          "complete -c ringtftp -n __fish_use_subcommand -a get -d 'fetch files'\n"
          "complete -c ringtftp -n __fish_use_subcommand -a put -d 'send files'\n"
          "complete -c ringtftp -n __fish_use_subcommand -a probe -d 'ask what the server would "
          "do'\n"
          "complete -c ringtftp -n '__fish_seen_subcommand_from put' -F\n",
          out);
    for (unsigned i = 0; i < client_option_count; i++)
        fish_option(out, &client_options[i]);
}
