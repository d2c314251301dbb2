//! Which global leads to an object.
//!
//! Walks from the global object along properties, elements, prototypes and entries, without running
//! any code of the script: neither getters nor traps, nor iterators. What only a closure or a private
//! field holds is not found. The search is bounded and happens only when a heap is refused.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroI32;

use crate::inspect;
use crate::limits::{BLAME_OBJECTS_MAX, BLAME_PATH_BYTES_MAX};
use crate::state::State;

/// The first of `targets` that is found, by its place among them, and how it is reached, such as
/// `state.cache[3]`. The nearest is found first.
pub(super) fn path_to(
    scope: &mut v8::PinScope<'_, '_>,
    targets: &[&v8::Global<v8::Object>],
) -> Option<(usize, String)> {
    v8::scope!(let scope, scope);
    let global = scope.get_current_context().global(scope);
    let mut walk = Walk::default();
    walk.add(global.into(), String::new());
    while let Some((object, path)) = walk.queue.pop_front() {
        if let Some(at) = targets.iter().position(|target| object == **target) {
            return Some((at, path));
        }
        if State::of(scope).is_some_and(|state| state.is_halted()) {
            return None;
        }
        walk.look_into(scope, object, &path);
    }
    None
}

#[derive(Default)]
struct Walk<'s> {
    seen: HashMap<NonZeroI32, Vec<v8::Local<'s, v8::Object>>>,
    queue: VecDeque<(v8::Local<'s, v8::Object>, String)>,
    count: usize,
}

impl<'s> Walk<'s> {
    fn add(&mut self, value: v8::Local<'s, v8::Value>, path: String) {
        let Ok(object) = v8::Local::<v8::Object>::try_from(value) else { return };
        if self.count >= BLAME_OBJECTS_MAX || path.len() > BLAME_PATH_BYTES_MAX {
            return;
        }
        let same = self.seen.entry(object.get_identity_hash()).or_default();
        if !same.contains(&object) {
            same.push(object);
            self.count += 1;
            self.queue.push_back((object, path));
        }
    }

    fn look_into(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        path: &str,
    ) {
        if let Ok(proxy) = v8::Local::<v8::Proxy>::try_from(object) {
            let (target, handler) = (proxy.get_target(scope), proxy.get_handler(scope));
            self.add(target, format!("{path} (the target of a Proxy)"));
            self.add(handler, format!("{path} (the handler of a Proxy)"));
            return;
        }
        if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(object)
            && let Some(buffer) = view.buffer(scope)
        {
            self.add(buffer.into(), join(path, "buffer"));
        }
        if object.is_map() || object.is_set() || object.is_weak_map() || object.is_weak_set() {
            let (entries, _) = object.preview_entries(scope);
            for at in 0..entries.map_or(0, |entries| entries.length()) {
                if let Some(entry) = entries.and_then(|entries| entries.get_index(scope, at)) {
                    self.add(entry, format!("{path} (an entry)"));
                }
            }
        }
        if let Ok(promise) = v8::Local::<v8::Promise>::try_from(object)
            && promise.state() != v8::PromiseState::Pending
        {
            let result = promise.result(scope);
            self.add(result, format!("{path} (the result of a Promise)"));
        }
        // Its elements are numbers, and there may be many.
        if !object.is_typed_array() {
            self.look_into_properties(scope, object, path);
        }
        if let Some(prototype) = object.get_prototype(scope) {
            self.add(prototype, join(path, "__proto__"));
        }
    }

    fn look_into_properties(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        path: &str,
    ) {
        let args = v8::GetPropertyNamesArgsBuilder::new()
            .mode(v8::KeyCollectionMode::OwnOnly)
            .property_filter(v8::PropertyFilter::ALL_PROPERTIES)
            .index_filter(v8::IndexFilter::IncludeIndices)
            .key_conversion(v8::KeyConversionMode::ConvertToString)
            .build();
        let Some(keys) = object.get_own_property_names(scope, args) else { return };
        for at in 0..keys.length() {
            if self.count >= BLAME_OBJECTS_MAX {
                return;
            }
            let Some(key) = keys.get_index(scope, at) else { continue };
            let Ok(key) = v8::Local::<v8::Name>::try_from(key) else { continue };
            let value = inspect::own_value(scope, object, key);
            if let Some(value) = value.filter(|value| value.is_object()) {
                let path = match v8::Local::<v8::Symbol>::try_from(key) {
                    Ok(symbol) => {
                        let name = symbol.description(scope).to_rust_string_lossy(scope);
                        format!("{path}[Symbol({name})]")
                    }
                    Err(_) => join(path, &key.to_rust_string_lossy(scope)),
                };
                self.add(value, path);
            }
        }
    }
}

/// How one writes the property `name` of what is at `path`.
fn join(path: &str, name: &str) -> String {
    let mut chars = name.chars();
    let is_start = |char: char| char.is_ascii_alphabetic() || char == '_' || char == '$';
    let is_part = |char: char| is_start(char) || char.is_ascii_digit();
    if chars.next().is_some_and(is_start) && chars.all(is_part) {
        return if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    }
    let mut joined = if path.is_empty() { "globalThis".to_owned() } else { path.to_owned() };
    joined.push('[');
    match name.parse::<u32>() {
        Ok(index) => joined.push_str(&index.to_string()),
        Err(_) => inspect::quote(name, &mut joined),
    }
    joined.push(']');
    joined
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn a_path_reads_as_it_would_be_written() {
        assert_eq!(join("", "state"), "state");
        assert_eq!(join("state", "a_1"), "state.a_1");
        assert_eq!(join("state", "7"), "state[7]");
        assert_eq!(join("state", "a b"), r#"state["a b"]"#);
        assert_eq!(join("", "1"), "globalThis[1]");
    }
}
