//! `shim6ctl generate …`: what is derived from the command line and the table of keys.

use super::args::{Cli, GenerateCommand};
use super::{Failure, Output};
use crate::daemon::args::DaemonArgs;
use crate::daemon::config::document;
use clap::{Command, CommandFactory, Id};
use std::fs;
use std::io;

/// All manual pages, by file name.
pub fn manuals() -> io::Result<Vec<(&'static str, String)>> {
    let version = env!("CARGO_PKG_VERSION");
    Ok(vec![
        ("shim6d.8", page(DaemonArgs::command(), SHIM6D)?),
        ("shim6ctl.8", page(Cli::command(), SHIM6CTL)?),
        ("shim6d.toml.5", document::manual(version)),
    ])
}

const SHIM6D: &str = "\
.SH ENVIRONMENT
.TP
SHIM6_LOG
What is written to the log: off, error, warn, info, debug or trace, also for single modules (\\fBinfo,shim6::proto=debug\\fR). Takes
precedence of \\fBlevel\\fR in the configuration.
.SH EXIT STATUS
0 done, 1 failed while running, 2 wrong usage or configuration, 3 kernel or privilege lacking.
.SH SIGNALS
SIGHUP reads the configuration again. SIGTERM and SIGINT end the daemon; its rules and routes go, the identity stays.
.SH ACCOUNT
Started as root, the daemon goes on as the user \\fBshim6\\fR if there is one, else as root; of all capabilities it keeps
CAP_NET_ADMIN and CAP_NET_RAW. The directories of the identity and of the journal, and what is in them, are given to the account. The
configuration stays whose it is: to be read again, the account has to be able to read it. An account made for it does well, \\fBuseradd
\\-\\-system \\-\\-user\\-group \\-\\-no\\-create\\-home \\-\\-shell /usr/sbin/nologin shim6\\fR; members of its group \\fBshim6\\fR may do with
\\fBshim6ctl\\fR what root may, unless the configuration names another group. Started by another user, the daemon needs the two as ambient
capabilities, and directories of its own.
.SH FILES
.TP
/etc/shim6/shim6d.toml
Configuration, optional.
.TP
/var/lib/shim6/
The identity.
.TP
/run/shim6/
The control socket and the journal of contexts.
.SH SEE ALSO
\\fBshim6ctl\\fR(8), \\fBshim6d.toml\\fR(5), RFC 5533, RFC 5534, RFC 5535
";

const SHIM6CTL: &str = "\
.SH ENVIRONMENT
.TP
SHIM6_SOCKET
Socket of the daemon, unless \\fB\\-\\-socket\\fR is given.
.SH EXIT STATUS
0 done, 1 failed, 2 wrong usage or configuration, 3 kernel or privilege lacking.
.SH SEE ALSO
\\fBshim6d\\fR(8), \\fBshim6d.toml\\fR(5)
";

/// One page: the command and all its subcommands, then `more`.
fn page(command: Command, more: &str) -> io::Result<String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let man = clap_mangen::Man::new(command.clone()).section("8").manual("System administration");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    let mut text = String::from_utf8_lossy(&out).into_owned();
    let mut commands = String::new();
    let everywhere: Vec<Id> =
        command.get_arguments().filter(|a| a.is_global_set()).map(|a| a.get_id().clone()).collect();
    describe(&command, "", &everywhere, &mut commands);
    if !commands.is_empty() {
        text += ".SH COMMANDS\n";
        text += &commands;
    }
    text += more;
    Ok(text)
}

/// Every command that does something, with its own options and those of its group.
fn describe(command: &Command, path: &str, everywhere: &[Id], text: &mut String) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let path = format!("{path}{} ", sub.get_name());
        if sub.has_subcommands() {
            describe(sub, &path, everywhere, text);
            continue;
        }
        let plain =
            |text: &str| text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let mut usage = path.trim_end().to_owned();
        for arg in sub.get_positionals() {
            usage += &format!(" {arg}");
        }
        *text += &format!(".TP\n\\fB{}\\fR\n{}.\n", plain(&usage), plain(&about));
        // Options that every command has stand in the page's own list.
        let own = sub.get_arguments().filter(|arg| {
            !everywhere.contains(arg.get_id())
                && !arg.is_hide_set()
                && !matches!(arg.get_id().as_str(), "help" | "version")
        });
        let mut any = false;
        for arg in own {
            if !any {
                *text += ".RS\n";
                any = true;
            }
            let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let defaults: Vec<_> =
                arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
            if !defaults.is_empty() && arg.get_action().takes_values() {
                help += &format!(" [default: {}]", defaults.join(" "));
            }
            *text += &format!(".TP\n{}\n{}.\n", plain(&arg.to_string()), plain(&help));
        }
        if any {
            *text += ".RE\n";
        }
    }
}

pub(super) fn run(output: &mut Output<'_>, what: &GenerateCommand) -> Result<(), Failure> {
    match what {
        GenerateCommand::Man { dir } => {
            fs::create_dir_all(dir)?;
            for (name, text) in manuals()? {
                fs::write(dir.join(name), text)?;
            }
            Ok(())
        }
        GenerateCommand::Docs => output.text(&document::markdown()),
    }
}

/// What a shell sources to complete our words.
pub(super) fn completions(
    output: &mut Output<'_>,
    shell: clap_complete::Shell,
) -> Result<(), Failure> {
    output.text(&script(shell))
}

/// The completions as a script of that shell.
pub(super) fn script(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "shim6ctl", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
