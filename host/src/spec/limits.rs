//! What one plugin may use up, and how that is written.

use serde::{Deserialize, Serialize};

use crate::{engine, limiter};

/// What one plugin may use up. Exceeding one ends that call only.
///
/// Written as a table of these keys, of which those that are missing have their defaults or the
/// values of the `preset` that the table names; or as the name of a preset alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// CPU time for one hook; one that spins is ended at most 4 ms later.
    pub deadline_ms: u32,
    /// Time that one hook may wait, summed, for `kv` and `limiter` where they are kept outside
    /// the host's memory. It is no CPU time and does not count against the deadline.
    pub wait_ms: u32,
    /// CPU time for instantiation, `describe` and `configure` together.
    pub load_deadline_ms: u32,
    /// Linear memory, summed over all memories of one instance.
    pub memory_bytes: usize,
    /// Elements, summed over all tables of one instance.
    pub table_elements: usize,
    /// Data that one host call may bring into the host.
    pub host_call_bytes: usize,
    /// Resource handles that one instance may hold.
    pub handles: usize,
    /// Host calls of one hook.
    pub host_calls: u32,
    /// Diagnostic lines a second, over all instances; `log`, stdout and stderr.
    pub log_lines_per_second: u32,
    /// Keys and values in `kv`, summed.
    pub kv_bytes: usize,
    /// Keys in the limiter. One takes about 100 bytes of the host's memory.
    pub limiter_keys: usize,
    /// Series in `metrics`.
    pub metric_series: usize,
    /// Size of the component itself.
    pub component_bytes: usize,
}

/// A bound on a limit: its name, its value, and what the value must be within.
type LimitRange = (&'static str, u64, u64, u64);

impl Limits {
    /// The first limit that no plugin can run with, or that the host could not keep: its name, and
    /// what is wrong with it.
    pub fn out_of_range(&self) -> Option<(&'static str, String)> {
        let wrong = |(_, value, least, most): &LimitRange| !(least..=most).contains(&value);
        let (name, value, least, most) = self.ranges().into_iter().find(wrong)?;
        Some((name, format!("{value} is out of range: write {least} to {most}")))
    }
}

/// Deserializes a table in which every key may be missing.
macro_rules! limits_table {
    ($($name:ident: $type:ty),+ $(,)?) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct LimitsTable {
            preset: Option<String>,
            $( $name: Option<$type>, )+
        }

        impl LimitsTable {
            fn over(self, base: Limits) -> Limits {
                Limits { $( $name: self.$name.unwrap_or(base.$name), )+ }
            }
        }
    };
}

limits_table! {
    deadline_ms: u32,
    wait_ms: u32,
    load_deadline_ms: u32,
    memory_bytes: usize,
    table_elements: usize,
    host_call_bytes: usize,
    handles: usize,
    host_calls: u32,
    log_lines_per_second: u32,
    kv_bytes: usize,
    limiter_keys: usize,
    metric_series: usize,
    component_bytes: usize,
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Limits;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table of limits, or the name of a preset")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Limits, E> {
                Limits::preset(name).map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Limits, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                let table = LimitsTable::deserialize(map)?;
                let base = match &table.preset {
                    Some(name) => Limits::preset(name).map_err(serde::de::Error::custom)?,
                    None => Limits::default(),
                };
                Ok(table.over(base))
            }
        }

        from.deserialize_any(Either)
    }
}

impl Limits {
    /// Names of [`Self::preset`].
    pub const PRESETS: [&'static str; 2] = ["default", "interpreter"];

    /// The limits that go by a name: `default`, or `interpreter` for a component that brings the
    /// interpreter of its language, such as `CPython`, `SpiderMonkey` or `QuickJS`.
    ///
    /// # Errors
    /// The names that there are.
    pub fn preset(name: &str) -> Result<Self, String> {
        match name {
            "default" => Ok(Self::default()),
            "interpreter" => Ok(Self {
                // One hook takes about 0.1 to 1 ms, and a collection of garbage several.
                deadline_ms: 50,
                load_deadline_ms: 5_000,
                memory_bytes: 128 << 20,
                table_elements: 65_536,
                host_call_bytes: 4 << 20,
                component_bytes: 64 << 20,
                ..Self::default()
            }),
            _ => Err(format!(
                "there is no preset `{name}` of limits; presets are {}",
                Self::PRESETS.join(", ")
            )),
        }
    }

    /// Sets one limit by its key.
    ///
    /// # Errors
    /// The keys that there are, or that the value is too large for this one.
    pub fn set(&mut self, key: &str, value: u64) -> Result<(), String> {
        let mut table = match serde_json::to_value(&*self) {
            Ok(serde_json::Value::Object(table)) => table,
            Ok(_) | Err(_) => serde_json::Map::new(),
        };
        if !table.contains_key(key) {
            let keys: Vec<&str> = table.keys().map(String::as_str).collect();
            return Err(format!("there is no limit `{key}`; limits are {}", keys.join(", ")));
        }
        table.insert(key.to_owned(), value.into());
        *self = serde_json::from_value(table.into())
            .map_err(|_| format!("limits.{key} = {value} is too large"))?;
        Ok(())
    }

    /// Names a limit that no plugin can run with.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.out_of_range() {
            Some((name, reason)) => Err(format!("limits.{name}: {reason}")),
            None => Ok(()),
        }
    }

    fn ranges(&self) -> [LimitRange; 13] {
        let size = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let memory_bytes_max = size(engine::MEMORY_BYTES_MAX);
        let table_elements_max = size(engine::TABLE_ELEMENTS_MAX);
        [
            // A hook that takes longer than a minute holds a worker thread for as long.
            ("deadline_ms", self.deadline_ms.into(), 1, 60_000),
            ("wait_ms", self.wait_ms.into(), 1, 60_000),
            ("load_deadline_ms", self.load_deadline_ms.into(), 1, 60_000),
            // What the pool of instances has room for.
            ("memory_bytes", size(self.memory_bytes), 64 << 10, memory_bytes_max),
            ("table_elements", size(self.table_elements), 0, table_elements_max),
            // Strings of a request in, a whole response out.
            ("host_call_bytes", size(self.host_call_bytes), 4 << 10, 64 << 20),
            // Standard output and error, and some for the calls of a hook.
            ("handles", size(self.handles), 16, 65_536),
            ("host_calls", self.host_calls.into(), 1, 100_000_000),
            ("log_lines_per_second", self.log_lines_per_second.into(), 0, 100_000),
            // In Redis sizes are doubles, exact far beyond this.
            ("kv_bytes", size(self.kv_bytes), 0, 64 << 30),
            // In memory each of the limiter's shards has its part.
            ("limiter_keys", size(self.limiter_keys), size(limiter::SHARDS), 100_000_000),
            ("metric_series", size(self.metric_series), 0, 100_000),
            // Compiled within two minutes and some gigabytes.
            ("component_bytes", size(self.component_bytes), 1 << 10, 64 << 20),
        ]
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A hook takes microseconds; 10 ms is far out and still no pause that a user sees.
            deadline_ms: 10,
            // Four calls that take as long as one may.
            wait_ms: 1_000,
            load_deadline_ms: 100,
            memory_bytes: 16 << 20,
            table_elements: 4_096,
            host_call_bytes: 1 << 20,
            handles: 1_024,
            // Each takes about 0.1 µs, so this is a tenth of the deadline.
            host_calls: 10_000,
            log_lines_per_second: 100,
            kv_bytes: 1 << 20,
            limiter_keys: 1_000_000,
            metric_series: 100,
            component_bytes: 8 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_limits_are_a_table_a_preset_or_both() {
        let read = |json: serde_json::Value| serde_json::from_value::<Limits>(json);
        let interpreter = Limits::preset("interpreter").unwrap();
        assert_eq!(read(serde_json::json!("interpreter")).unwrap(), interpreter);
        let both = read(serde_json::json!({ "preset": "interpreter", "handles": 7 })).unwrap();
        assert_eq!(both, Limits { handles: 7, ..interpreter });
        let table = read(serde_json::json!({ "deadline_ms": 3 })).unwrap();
        assert_eq!(table, Limits { deadline_ms: 3, ..Limits::default() });
        for (wrong, says) in [
            (serde_json::json!("interpretr"), "presets are default, interpreter"),
            (serde_json::json!({ "preset": "x" }), "presets are"),
            (serde_json::json!({ "memory_byte": 1 }), "unknown field `memory_byte`"),
            (serde_json::json!(7), "a table of limits, or the name of a preset"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        // What is recorded is read back as it was.
        let recorded = serde_json::to_value(&both).unwrap();
        assert_eq!(read(recorded).unwrap(), both);
    }

    #[test]
    fn h12_one_limit_is_set_by_its_key() {
        let mut limits = Limits::default();
        limits.set("memory_bytes", 1 << 30).unwrap();
        assert_eq!(limits, Limits { memory_bytes: 1 << 30, ..Limits::default() });
        assert!(limits.set("memory", 1).unwrap_err().contains("memory_bytes"));
        let error = limits.set("deadline_ms", 1 << 40).unwrap_err();
        assert!(error.contains("limits.deadline_ms = 1099511627776"), "{error}");
    }
}
