package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// helpCommand is --help, for those who look for it there.
type helpCommand struct {
	Command []string `arg:"" optional:"" help:"The command, such as: events create."`
}

func (c *helpCommand) Run(parsed *kong.Context) error {
	_, err := parsed.Parse(append(slices.Clone(c.Command), "--help"))
	if err != nil { // of no consequence if it was answered
		return &usageError{err}
	}
	return nil
}

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown by --help.
func (c *completionCommand) Help() string {
	return `
For this session; in a file that the shell reads when it starts, for all:

  source <(holdfast completion bash)
  source <(holdfast completion zsh)      # after compinit
  holdfast completion fish | source
`
}

func (c *completionCommand) Run(e *environment, parsed *kong.Context) error {
	script := posixCompletion(parsed.Model) + completionDrivers[c.Shell]
	switch c.Shell {
	case "zsh":
		script = "#compdef holdfast\n" + script
	case "fish":
		script = fishCompletion(parsed.Model) + completionDrivers[c.Shell]
	}
	if _, err := io.WriteString(e.stdout, script); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// choice is what may be said at one place of a command line: "COMMAND commands" is what may
// follow it, "COMMAND flags" are its flags, and "COMMAND --flag" is the flag's value.
type choice struct {
	at    string
	words string // what is known of them; anyFile is a file
}

const anyFile = "FILE"

// choices are those of a command and all below it.
func choices(node *kong.Node, at string) []choice {
	var commands, flags []string
	var found []choice
	for _, child := range node.Children {
		if !child.Hidden {
			commands = append(commands, child.Name)
			found = append(found, choices(child, at+" "+child.Name)...)
		}
	}
	for _, arg := range node.Positional {
		commands = append(commands, values(arg)...)
	}
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			flags = append(flags, "--"+flag.Name)
		}
	}
	own := node.Flags
	if node.DefaultCmd != nil { // its flags may follow at once
		own = append(slices.Clone(own), node.DefaultCmd.Flags...)
		for _, flag := range node.DefaultCmd.Flags {
			flags = append(flags, "--"+flag.Name)
		}
	}
	for _, flag := range own {
		if flag.IsBool() {
			continue
		}
		c := choice{at + " --" + flag.Name, strings.Join(values(flag.Value), " ")}
		if strings.HasPrefix(flag.PlaceHolder, anyFile) {
			c.words = anyFile
		}
		found = append(found, c)
		if flag.Short != 0 {
			found = append(found, choice{at + " -" + string(flag.Short), c.words})
		}
	}
	return append(found, choice{at + " commands", strings.Join(commands, " ")}, choice{at + " flags", strings.Join(flags, " ")})
}

// values are those that a flag or an argument can have, if they are known.
func values(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return v.EnumSlice()
}

// posixCompletion is the part that bash and zsh share. Nothing in the model needs quoting: names
// are words.
func posixCompletion(app *kong.Application) string {
	var b strings.Builder
	b.WriteString("_holdfast_choices() {\n    case \"$1\" in\n")
	for _, c := range choices(app.Node, app.Name) {
		if c.words == "" {
			fmt.Fprintf(&b, "    '%s') ;;\n", c.at)
			continue
		}
		fmt.Fprintf(&b, "    '%s') printf '%%s\\n' '%s' ;;\n", c.at, c.words)
	}
	b.WriteString(`    *) return 1 ;;
    esac
}

# Reads the words before the one to be completed: sets at, the command, and flag, if that word is its value.
_holdfast_walk() {
    local word
    at=holdfast flag=
    for word in "$@"; do
        if [ -n "$flag" ]; then
            [ "$word" = '=' ] || flag=
            continue
        fi
        case "$word" in
        -*=* | help) ;;
        -*) if _holdfast_choices "$at $word" >/dev/null || _holdfast_choices "holdfast $word" >/dev/null; then flag=$word; fi ;;
        *) if _holdfast_choices "$at $word commands" >/dev/null; then at="$at $word"; fi ;;
        esac
    done
}

# What the word $1 may become.
_holdfast_words() {
    if [ -n "$flag" ]; then
        _holdfast_choices "$at $flag" || _holdfast_choices "holdfast $flag"
        return
    fi
    case "$1" in
    -*) _holdfast_choices "$at flags" ;;
    *) _holdfast_choices "$at commands" ;;
    esac
}

`)
	return b.String()
}

func fishCompletion(app *kong.Application) string {
	var b strings.Builder
	b.WriteString("function __holdfast_choices\n    switch $argv[1]\n")
	for _, c := range choices(app.Node, app.Name) {
		fmt.Fprintf(&b, "        case '%s'\n            string split -n ' ' -- '%s'\n            return 0\n", c.at, c.words)
	}
	b.WriteString("    end\n    return 1\nend\n\n")
	return b.String()
}

// completionDrivers tell each shell how to ask.
var completionDrivers = map[string]string{
	"bash": `_holdfast() {
    local at flag words cur=${COMP_WORDS[COMP_CWORD]}
    _holdfast_walk "${COMP_WORDS[@]:1:COMP_CWORD-1}"
    if [ "$cur" = '=' ]; then cur=; fi
    words=$(_holdfast_words "$cur")
    COMPREPLY=()
    if [ "$words" = FILE ]; then
        compopt -o default 2>/dev/null
    else
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
    fi
}
complete -F _holdfast holdfast
`,
	"zsh": `_holdfast() {
    local at flag found cur=${words[CURRENT]}
    _holdfast_walk "${(@)words[2,CURRENT-1]}"
    if [[ -z $flag && $cur == -*=* ]]; then
        flag=${cur%%=*}
        compset -P '*='
    fi
    found=$(_holdfast_words "$cur")
    if [[ $found == FILE ]]; then
        _files
    else
        compadd -- ${=found}
    fi
}
compdef _holdfast holdfast
`,
	"fish": `function __holdfast_complete
    set -l at holdfast
    set -l flag ''
    set -l before (commandline -opc)
    for word in $before[2..-1]
        if test -n "$flag"
            set flag ''
            continue
        end
        switch $word
            case '-*=*' help
            case '-*'
                if __holdfast_choices "$at $word" >/dev/null; or __holdfast_choices "holdfast $word" >/dev/null
                    set flag $word
                end
            case '*'
                if __holdfast_choices "$at $word commands" >/dev/null
                    set at "$at $word"
                end
        end
    end
    set -l cur (commandline -ct)
    set -l prefix ''
    if test -z "$flag"; and string match -q -- '-*=*' $cur
        set flag (string split -m 1 = -- $cur)[1]
        set prefix $flag=
    end
    set -l words
    if test -n "$flag"
        set words (__holdfast_choices "$at $flag"; or __holdfast_choices "holdfast $flag")
    else if string match -q -- '-*' $cur
        set words (__holdfast_choices "$at flags")
    else
        set words (__holdfast_choices "$at commands")
    end
    if test "$words" = FILE
        __fish_complete_path (string replace -- "$prefix" '' $cur)
    else
        for word in $words
            printf '%s\n' $prefix$word
        end
    end
end
complete -c holdfast -f -a '(__holdfast_complete)'
`,
}
