//! The log, on standard error.

use std::io::Write;

/// What overrides the configuration's level; it may name modules, as `env_logger` understands it.
const ENV: &str = "SHIM6_LOG";

/// Starts the log. Plain lines for people; with priorities and without times when the journal listens.
pub fn start(level: log::LevelFilter) {
    // Without the variable `log`'s own level decides, which can be changed.
    let env = env_logger::Env::default().filter_or(ENV, "trace");
    let mut builder = env_logger::Builder::from_env(env);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.format(|out, record| {
            let priority = match record.level() {
                log::Level::Error => 3,
                log::Level::Warn => 4,
                log::Level::Info => 6,
                log::Level::Debug | log::Level::Trace => 7,
            };
            writeln!(out, "<{priority}>{}", record.args())
        });
    } else {
        builder.format_timestamp_millis();
    }
    builder.init();
    set_level(level);
}

/// Takes another level, unless the environment names one.
pub fn set_level(level: log::LevelFilter) {
    if !overridden() {
        log::set_max_level(level);
    }
}

fn overridden() -> bool {
    std::env::var(ENV).is_ok()
}
