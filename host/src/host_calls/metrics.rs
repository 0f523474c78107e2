//! `metrics`: the plugin's own series.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use super::enter;
use crate::series::Sample;
use crate::state::State;
use crate::wit::v0_1::pillion::plugin::metrics::Label;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("counter", |store, (name, labels, add): (String, Vec<Label>, u64)| {
        record(store, &name, &labels, Sample::Add(add))
    })?;
    linker.func_wrap("gauge", |store, (name, labels, value): (String, Vec<Label>, f64)| {
        record(store, &name, &labels, Sample::Set(value))
    })?;
    linker.func_wrap("histogram", |store, (name, labels, value): (String, Vec<Label>, f64)| {
        record(store, &name, &labels, Sample::Observe(value))
    })
}

fn record(
    mut store: StoreContextMut<'_, State>,
    name: &str,
    labels: &[Label],
    sample: Sample,
) -> wasmtime::Result<()> {
    let granted = &enter(&mut store)?.granted;
    let labels = labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    granted.series.record(name, labels, sample, granted.limits.metric_series);
    Ok(())
}
