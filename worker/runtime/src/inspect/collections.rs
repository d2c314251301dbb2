//! Arrays, maps, sets, typed arrays, buffers and promises.

use super::{Inspector, Parents};
use crate::limits::INSPECT_ITEMS_MAX;

impl Inspector<'_, '_> {
    pub(super) fn array(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        array: v8::Local<'_, v8::Array>,
        parents: &Parents<'_>,
        depth: usize,
    ) {
        let name = array.get_constructor_name().to_rust_string_lossy(scope);
        if name != "Array" && !name.is_empty() {
            self.out.push(&format!("{name}({}) ", array.length()));
        }
        self.out.push("[");
        let mut holes = 0;
        let mut shown = 0;
        // Holes are counted, not shown one by one: an array may be long and empty.
        for at in 0..array.length() {
            if self.out.is_full() {
                return;
            }
            v8::scope!(let scope, scope);
            let Some(key) = index_key(scope, at) else { return };
            if array.has_own_property(scope, key) != Some(true) {
                holes += 1;
                if holes > INSPECT_ITEMS_MAX {
                    // In 64 bits: `holes` counts the one at `at` as well.
                    let rest = u64::from(array.length() - at) + holes as u64 - 1;
                    self.more(&mut shown, rest);
                    self.out.push("]");
                    return;
                }
                continue;
            }
            self.holes(&mut shown, &mut holes);
            self.separate(&mut shown);
            if shown > INSPECT_ITEMS_MAX {
                self.out.push(&format!("… {} more", array.length() - at));
                break;
            }
            self.property(scope, array.into(), key, parents, depth);
        }
        self.holes(&mut shown, &mut holes);
        self.out.push("]");
    }

    fn holes(&mut self, shown: &mut usize, holes: &mut usize) {
        if *holes > 0 {
            self.separate(shown);
            let plural = if *holes == 1 { "" } else { "s" };
            self.out.push(&format!("<{holes} empty item{plural}>"));
            *holes = 0;
        }
    }

    fn separate(&mut self, shown: &mut usize) {
        if *shown > 0 {
            self.out.push(",");
        }
        *shown += 1;
    }

    fn more(&mut self, shown: &mut usize, count: u64) {
        self.separate(shown);
        self.out.push(&format!("… {count} more"));
    }

    pub(super) fn map(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        map: v8::Local<'_, v8::Map>,
        parents: &Parents<'_>,
        depth: usize,
    ) {
        // The copy is made of fresh, plain elements: reading it runs nothing.
        let entries = map.as_array(scope);
        self.out.push(&format!("Map({}) {{", map.size()));
        for at in (0..entries.length()).step_by(2) {
            if at > 0 {
                self.out.push(", ");
            }
            if self.out.is_full() {
                return;
            }
            if at as usize / 2 >= INSPECT_ITEMS_MAX {
                self.out.push(&format!("… {} more", (entries.length() - at) / 2));
                break;
            }
            v8::scope!(let scope, scope);
            let (Some(key), Some(value)) =
                (entries.get_index(scope, at), entries.get_index(scope, at + 1))
            else {
                continue;
            };
            self.value(scope, key, Some(parents), depth);
            self.out.push(" => ");
            self.value(scope, value, Some(parents), depth);
        }
        self.out.push("}");
    }

    pub(super) fn set(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        set: v8::Local<'_, v8::Set>,
        parents: &Parents<'_>,
        depth: usize,
    ) {
        let values = set.as_array(scope);
        self.out.push(&format!("Set({}) {{", set.size()));
        for at in 0..values.length() {
            if at > 0 {
                self.out.push(", ");
            }
            if self.out.is_full() {
                return;
            }
            if at as usize >= INSPECT_ITEMS_MAX {
                self.out.push(&format!("… {} more", values.length() - at));
                break;
            }
            v8::scope!(let scope, scope);
            if let Some(value) = values.get_index(scope, at) {
                self.value(scope, value, Some(parents), depth);
            }
        }
        self.out.push("}");
    }

    pub(super) fn typed_array(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        array: v8::Local<'_, v8::TypedArray>,
    ) {
        let name = array.get_constructor_name().to_rust_string_lossy(scope);
        self.out.push(&format!("{name}({}) [", array.length()));
        for at in 0..array.length() {
            if at > 0 {
                self.out.push(",");
            }
            if self.out.is_full() {
                return;
            }
            if at >= INSPECT_ITEMS_MAX {
                self.out.push(&format!("… {} more", array.length() - at));
                break;
            }
            v8::scope!(let scope, scope);
            let Ok(index) = u32::try_from(at) else { break };
            // Elements of typed arrays are never accessors.
            if let Some(value) = array.get_index(scope, index) {
                self.value(scope, value, None, 0);
            }
        }
        self.out.push("]");
    }

    pub(super) fn array_buffer(&mut self, buffer: v8::Local<'_, v8::ArrayBuffer>) {
        let detached = if buffer.was_detached() { ", detached" } else { "" };
        self.out.push(&format!("ArrayBuffer({} bytes{detached})", buffer.byte_length()));
    }

    pub(super) fn promise(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        promise: v8::Local<'_, v8::Promise>,
        parents: &Parents<'_>,
        depth: usize,
    ) {
        let state = match promise.state() {
            v8::PromiseState::Pending => return self.out.push("Promise {<pending>}"),
            v8::PromiseState::Fulfilled => "fulfilled",
            v8::PromiseState::Rejected => "rejected",
        };
        self.out.push(&format!("Promise {{<{state}>: "));
        let value = promise.result(scope);
        self.value(scope, value, Some(parents), depth);
        self.out.push("}");
    }
}

fn index_key<'s>(scope: &mut v8::PinScope<'s, '_>, at: u32) -> Option<v8::Local<'s, v8::Name>> {
    let index = v8::Integer::new_from_unsigned(scope, at);
    Some(index.to_string(scope)?.into())
}
