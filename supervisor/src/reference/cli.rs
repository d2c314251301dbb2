//! The page of the command line, from clap.

use clap::{Arg, Command};

use super::markdown::{cell, code, head, table};
use crate::cli;
use crate::cli::args::LATER;

const ABOUT: &str = "Every flag and every command. `mcp-v8 --help` and `mcp-v8 COMMAND --help` say the \
same on a terminal. A flag wins over its environment variable, that over the key of the `--config` file. \
Switches are set by `true` there. Numbers have bounds, which an error names: \
[limits.md](limits.md).";

/// The page.
pub fn page() -> String {
    let mut command = cli::command();
    // Puts global flags where they count.
    command.build();
    let mut text = head("Command line", ABOUT);
    text += "\n## The server\n";
    for heading in headings(&command) {
        if heading == LATER {
            continue;
        }
        text += &format!("\n### {heading}\n");
        let args = shown(&command).filter(|arg| arg.get_help_heading() == Some(heading.as_str()));
        text += &flags(args, true);
    }
    text += "\n### Refused\n\nThese are known from other releases; giving one ends the start with what it \
             belongs to.\n";
    let later = command.get_arguments().filter(|arg| arg.get_help_heading() == Some(LATER));
    let later = later.map(|arg| vec![code(&format!("--{}", long(arg))), help(arg)]);
    text += &table(&["Flag", "Belongs to"], &later.collect::<Vec<_>>());
    text += "\n## Commands\n";
    for below in command.get_subcommands() {
        describe(below, "mcp-v8", &mut text);
    }
    text
}

fn headings(command: &Command) -> Vec<String> {
    let mut headings: Vec<String> = Vec::new();
    for heading in shown(command).filter_map(Arg::get_help_heading) {
        if !headings.iter().any(|known| known == heading) {
            headings.push(heading.to_owned());
        }
    }
    headings
}

/// Its arguments, without those that every command has.
fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    let hidden =
        |arg: &&Arg| matches!(arg.get_id().as_str(), "help" | "version") || arg.is_hide_set();
    command.get_arguments().filter(move |arg| !hidden(arg))
}

fn long(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_default()
}

fn help(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string);
    cell(&help.unwrap_or_default())
}

/// As it is written on the command line.
fn usage(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default();
    let values = values.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    match arg.get_long() {
        None => code(&values),
        Some(long) if arg.get_action().takes_values() => code(&format!("--{long} {values}")),
        Some(long) => code(&format!("--{long}")),
    }
}

fn accepted(arg: &Arg) -> String {
    let values = arg.get_possible_values();
    let names = values.iter().map(|value| code(value.get_name())).collect::<Vec<_>>().join(", ");
    if arg.get_action().takes_values() { names } else { String::new() }
}

fn default(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let values = arg.get_default_values().iter();
    values.map(|value| code(&value.to_string_lossy())).collect::<Vec<_>>().join(", ")
}

fn flags<'a>(args: impl Iterator<Item = &'a Arg>, in_file: bool) -> String {
    let row = |arg: &Arg| {
        let environment = arg.get_env().map(|name| code(&name.to_string_lossy()));
        // The file is named by itself.
        let key = arg.get_long().filter(|long| in_file && *long != "config").map(code);
        let mut meaning = help(arg);
        let accepted = accepted(arg);
        if !accepted.is_empty() {
            meaning += &format!(". One of {accepted}");
        }
        vec![
            usage(arg),
            environment.unwrap_or_default(),
            key.unwrap_or_default(),
            default(arg),
            meaning,
        ]
    };
    let args: Vec<_> = args.collect();
    let positional = args.iter().all(|arg| arg.get_long().is_none());
    let rows: Vec<_> = args.into_iter().map(row).collect();
    let title = if positional { "Argument" } else { "Flag" };
    table(&[title, "Environment", "Key", "Default", "Meaning"], &rows)
}

fn describe(command: &Command, above: &str, text: &mut String) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = format!("{above} {}", command.get_name());
    let level = "#".repeat(2 + name.split(' ').count().saturating_sub(1));
    *text += &format!("\n{level} {name}\n");
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        *text += &format!("\n{about}.\n");
    }
    *text += &flags(shown(command).filter(|arg| arg.get_long().is_none()), false);
    let own = shown(command).filter(|arg| arg.get_long().is_some());
    // Flags of all its commands are described once.
    let own = own.filter(|arg| !arg.is_global_set() || above == "mcp-v8");
    *text += &flags(own, false);
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        *text += &format!("\n```text\n{}\n```\n", after.to_string().trim_end());
    }
    for below in command.get_subcommands() {
        describe(below, &name, text);
    }
}
