//! The loop: takes ready ops in order and resolves each one once.

use std::sync::Arc;

use super::Engine;
use super::dense::{Dispatch, Region};
use super::frame::{Frame, Frontier, Held};
use crate::{EngineStep, ExecId, Value};

impl Engine {
    /// Runs ready ops until none is left or `budget` is used up; an op counts whether it ran or had nothing to
    /// run on.
    pub(crate) fn run_frontier(&mut self, budget: &mut usize) {
        let is_traced = self.limits.trace_ops;
        while *budget > 0 {
            let Some((index, op)) = self.frontier.pop_front() else { return };
            *budget -= 1;
            let frame = self.frames.frame_mut(index);
            frame.sites.queued -= 1;
            if frame.cancelled {
                if frame.sites.queued == 0 {
                    self.frames.free(index);
                }
                continue;
            }
            let Frame { region: Some(region), sites, .. } = frame else { continue };
            let held = region.ops[op as usize];
            if sites.is_dead(op) {
                if sites.is_eager(op) {
                    self.end_dead_quorum(index, op);
                }
                let frame = self.frames.frame_mut(index);
                skip(frame, index, op, &mut self.frontier);
            } else if is_traced {
                let region = Arc::clone(region);
                self.fire(index, op, &region);
                continue;
            } else if held.dispatch == Dispatch::PassThrough {
                let value = sites.take(region.inputs[held.inputs.start as usize], &region.constants);
                let site = region.outputs[held.outputs.start as usize];
                sites.write(index, site, value, &region.consumers, &mut self.frontier);
                sites.release(index, held.successors, &region.consumers, &mut self.frontier);
                frame.note_ran(op);
            } else if let Dispatch::Emit(name) = held.dispatch {
                let value = sites.take(region.inputs[held.inputs.start as usize], &region.constants);
                if let (Some(held), Some(execution)) = (value, self.executions.at_mut(frame.execution)) {
                    execution.outputs_written += 1;
                    self.steps.push(app_event(region, name, execution.id, held.value));
                }
                frame.note_ran(op);
            } else {
                let region = Arc::clone(region);
                self.fire(index, op, &region);
                continue;
            }
            if self.frames.frame(index).remaining == 0 {
                self.end_frame(index);
            }
        }
    }

    /// Writes the outputs of an op that ran and makes ready what waited for it.
    pub(crate) fn finish_op(&mut self, index: u32, op: u32, outputs: impl IntoIterator<Item = Option<Held>>) {
        let frame = self.frames.frame_mut(index);
        let Frame { region: Some(region), sites, .. } = frame else { return };
        let held = region.ops[op as usize];
        let mut outputs = outputs.into_iter().fuse();
        for &site in &region.outputs[held.outputs.range()] {
            sites.write(index, site, outputs.next().flatten(), &region.consumers, &mut self.frontier);
        }
        sites.release(index, held.successors, &region.consumers, &mut self.frontier);
        if self.limits.trace_ops
            && let Some(execution) = self.executions.at(frame.execution)
        {
            let (op, exec_id, source) = (region.op_ref(op), execution.id, frame.source);
            self.steps.push(EngineStep::OpCompleted { op, exec_id, source });
        }
        frame.note_ran(op);
        if frame.remaining == 0 {
            self.end_frame(index);
        }
    }
}

/// Resolves an op that does not run because an input will never come.
fn skip(frame: &mut Frame, index: u32, op: u32, frontier: &mut Frontier) {
    let Frame { region: Some(region), sites, .. } = frame else { return };
    let region: &Region = region;
    let is_eager = sites.is_eager(op);
    let held = region.ops[op as usize];
    if !is_eager {
        sites.release_inputs(&region.inputs[held.inputs.range()]);
    }
    sites.write_none(index, &held, region, frontier);
    sites.release(index, held.successors, &region.consumers, frontier);
    frame.note_resolved(op);
}

/// A value that a program hands out.
pub(super) fn app_event(region: &Region, name: u32, exec_id: ExecId, value: Value) -> EngineStep {
    EngineStep::AppEvent {
        module: region.module.clone(),
        exec_id,
        output: region.emits[name as usize].clone(),
        value,
    }
}
