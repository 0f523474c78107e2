//! The figures of loads, as tables and as a document.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::places;
use crate::report::machine;
use crate::system::form::{Form, Part};
use crate::system::latency::figure;
use crate::system::mix::{DELIVERY_P99_MS, HOME_P99_MS, Measured, POST_P99_MS, Row};
use crate::system::open_loop::{Kind, Outcome};

/// Prints what was measured with one population.
pub(crate) fn print(measured: &mut Measured) -> Result<()> {
    let text = loads(measured)? + &parts(measured)? + &idle(measured)? + &objectives(measured)?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Keeps all figures.
pub(crate) fn write(time: Duration, all: &mut [Measured]) -> Result<()> {
    let document = json!({
        "machine": machine(),
        "seconds": time.as_secs(),
        "populations": all.iter_mut().map(document).collect::<Vec<_>>(),
    });
    places::write_results("load", &document)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(outcome: &Outcome) -> f64 {
    outcome.answered() as f64 / outcome.took.as_secs_f64()
}

fn loads(measured: &mut Measured) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "\n{} users, {} follows; 60 % home, 30 % user timeline, 10 % post; open loop, every \
         plugin; times in ms;\ndelay until 99 % of the homes looked at have the tweet of an \
         account with {} followers; CPU of the whole system",
        measured.users, measured.follows, measured.star_followers
    )?;
    writeln!(
        out,
        "  rate/s  form     answered/s  failed  CPU us/req |  home p50    p99 |  user p50    p99 \
         |  post p50    p99 | delay p50    p99 unseen"
    )?;
    measured.rows.sort_by_key(|row| row.rate);
    for row in &mut measured.rows {
        let failed = row.outcome.failed + row.outcome.unsent + row.delivered.failed;
        write!(
            out,
            "  {:>6}  {:<8} {:>10} {failed:>7} {:>11} |",
            row.rate,
            row.form.name(),
            figure(Some(per_second(&row.outcome))),
            figure(Some(row.cpu_us()))
        )?;
        for kind in Kind::ALL {
            let mut times = row.outcome.times.get(&kind).cloned().unwrap_or_default();
            let [half, most] = [50.0, 99.0].map(|percent| figure(times.percentile_ms(percent)));
            write!(out, " {half:>9} {most:>6} |")?;
        }
        let [half, most] =
            [50.0, 99.0].map(|percent| figure(row.delivered.seen.percentile_ms(percent)));
        writeln!(out, " {half:>9} {most:>6} {:>6}", row.delivered.unseen)?;
        for (what, count) in &row.outcome.failures {
            writeln!(out, "          {count} x {what}")?;
        }
    }
    Ok(out)
}

/// CPU time by part: milliseconds a request, which are seconds for a thousand of them.
fn parts(measured: &Measured) -> Result<String> {
    let mut out = String::new();
    writeln!(out, "\nCPU by part, ms a request = s for 1,000 requests; and its share")?;
    write!(out, "  {:<28}", "")?;
    for row in &measured.rows {
        write!(out, " | {:>14}", format!("{} {}", row.form.name(), row.rate))?;
    }
    writeln!(out)?;
    let wholes: Vec<BTreeMap<&str, Duration>> = measured.rows.iter().map(wholes).collect();
    let names: BTreeSet<&str> = wholes.iter().flat_map(BTreeMap::keys).copied().collect();
    for name in names {
        let times = wholes.iter().map(|parts| parts.get(name).copied());
        line(&mut out, name, &measured.rows, times)?;
        let all = measured.rows.iter().flat_map(|row| row.cpu.keys());
        let within: BTreeSet<Part> = all.filter(|part| part.whole() == name).copied().collect();
        for part in within.iter().filter(|part| part.name() != name) {
            let times = measured.rows.iter().map(|row| row.cpu.get(part).copied());
            line(&mut out, &format!("  {}", part.name()), &measured.rows, times)?;
        }
    }
    let all = measured.rows.iter().map(|row| Some(row.cpu.values().sum()));
    line(&mut out, "the whole system", &measured.rows, all)?;
    line(
        &mut out,
        "beside it: the load",
        &measured.rows,
        measured.rows.iter().map(|row| Some(row.own_cpu)),
    )?;
    let Some(first) = measured.rows.first().map(|row| row.form) else { return Ok(out) };
    write!(out, "  {:<28}", format!("times {}", first.name()))?;
    for row in &measured.rows {
        let same = measured.rows.iter().find(|it| it.form == first && it.rate == row.rate);
        let ratio = same.map(|same| row.cpu_us() / same.cpu_us());
        write!(out, " | {:>14}", figure(ratio))?;
    }
    writeln!(out)?;
    Ok(out)
}

/// What a form uses whether it is asked anything or not; it is in the figures above.
fn idle(measured: &Measured) -> Result<String> {
    let mut out = String::new();
    writeln!(out, "\nCPU when nobody asks anything, ms a second")?;
    for (form, cores) in &measured.idle {
        writeln!(out, "  {:<8} {}", form.name(), figure(Some(cores * 1e3)))?;
    }
    Ok(out)
}

fn wholes(row: &Row) -> BTreeMap<&'static str, Duration> {
    let mut wholes = BTreeMap::new();
    for (part, time) in &row.cpu {
        *wholes.entry(part.whole()).or_default() += *time;
    }
    wholes
}

fn line(
    out: &mut String,
    name: &str,
    rows: &[Row],
    times: impl Iterator<Item = Option<Duration>>,
) -> Result<()> {
    write!(out, "  {name:<28}")?;
    for (row, time) in rows.iter().zip(times) {
        let all: Duration = row.cpu.values().sum();
        let share = time.map(|time| 100.0 * time.as_secs_f64() / all.as_secs_f64());
        let share = share.map_or(String::new(), |share| format!("{share:.0} %"));
        let ms = time.map(|time| format!("{:.3}", row.per_request_us(time) / 1e3));
        write!(out, " | {:>7} {share:>6}", ms.unwrap_or_default())?;
    }
    writeln!(out)?;
    Ok(())
}

/// The highest rate at which everything that is promised held, for each form.
fn objectives(measured: &mut Measured) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "\nobjectives, p99: home <= {HOME_P99_MS} ms, post <= {POST_P99_MS} ms, delay <= \
         {DELIVERY_P99_MS} ms, and no failure"
    )?;
    let mut best: Vec<(Form, Option<u32>)> = Vec::new();
    for row in &mut measured.rows {
        let met = row.meets_objectives().then_some(row.rate);
        match best.iter_mut().find(|(form, _)| *form == row.form) {
            Some((_, best)) => *best = met.max(*best),
            None => best.push((row.form, met)),
        }
    }
    for (form, best) in best {
        let met =
            best.map_or("at none of these rates".to_owned(), |rate| format!("up to {rate}/s"));
        writeln!(out, "  {:<8} met {met}", form.name())?;
    }
    Ok(out)
}

fn document(measured: &mut Measured) -> Value {
    let rows: Vec<Value> = measured
        .rows
        .iter_mut()
        .map(|row| {
            let mut times = serde_json::Map::new();
            for (kind, latencies) in &mut row.outcome.times {
                let figures = [50.0, 99.0, 99.9, 100.0].map(|p| latencies.percentile_ms(p));
                times.insert(kind.name().to_owned(), percentiles(figures));
            }
            let seen = [50.0, 99.0, 99.9, 100.0].map(|p| row.delivered.seen.percentile_ms(p));
            let parts =
                row.cpu.iter().map(|(part, time)| (part.name(), json!(row.per_request_us(*time))));
            json!({
                "form": row.form.name(),
                "rate": row.rate,
                "answered_per_second": per_second(&row.outcome),
                "failed": row.outcome.failed, "unsent": row.outcome.unsent,
                "failures": row.outcome.failures,
                "cpu_us": row.cpu_us(),
                "parts_cpu_us": parts.collect::<serde_json::Map<_, _>>(),
                "load_cpu_us": row.per_request_us(row.own_cpu),
                "times_ms": times,
                "delay_ms": percentiles(seen), "unseen": row.delivered.unseen,
            })
        })
        .collect();
    json!({
        "users": measured.users, "follows": measured.follows,
        "star_followers": measured.star_followers,
        "idle_cores": measured.idle.iter().map(|(form, cores)| (form.name().to_owned(), json!(cores)))
            .collect::<serde_json::Map<_, _>>(),
        "rows": rows,
    })
}

fn percentiles([p50, p99, p999, max]: [Option<f64>; 4]) -> Value {
    json!({ "p50": p50, "p99": p99, "p99.9": p999, "max": max })
}
