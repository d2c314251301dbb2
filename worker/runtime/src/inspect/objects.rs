//! Objects: which kind they are, and their properties.

use super::lookup::{self, Property};
use super::text::iso_date;
use super::{Inspector, Parents, regexp};
use crate::limits::INSPECT_ITEMS_MAX;

impl Inspector<'_, '_> {
    pub(super) fn object_by_kind(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        object: v8::Local<'_, v8::Object>,
        parents: &Parents<'_>,
        depth: usize,
    ) {
        if let Ok(proxy) = v8::Local::<v8::Proxy>::try_from(object) {
            return self.proxy(scope, proxy, parents, depth);
        }
        if let Ok(date) = v8::Local::<v8::Date>::try_from(object) {
            match iso_date(date.value_of()) {
                Some(text) => self.out.push(&format!("\"{text}\"")),
                None => self.out.push("Invalid Date"),
            }
            return;
        }
        if object.is_native_error() {
            return self.error(scope, object, parents, depth);
        }
        if self.through_to_json(scope, object, parents, depth) {
            return;
        }
        if let Ok(function) = v8::Local::<v8::Function>::try_from(object) {
            self.function(scope, function);
            self.extra_properties(scope, object, &[], parents, depth);
        } else if let Ok(array) = v8::Local::<v8::Array>::try_from(object) {
            self.array(scope, array, parents, depth);
        } else if let Ok(map) = v8::Local::<v8::Map>::try_from(object) {
            self.map(scope, map, parents, depth);
        } else if let Ok(set) = v8::Local::<v8::Set>::try_from(object) {
            self.set(scope, set, parents, depth);
        } else if let Ok(array) = v8::Local::<v8::TypedArray>::try_from(object) {
            self.typed_array(scope, array);
        } else if let Ok(buffer) = v8::Local::<v8::ArrayBuffer>::try_from(object) {
            self.array_buffer(buffer);
        } else if let Ok(view) = v8::Local::<v8::DataView>::try_from(object) {
            self.out.push(&format!("DataView({} bytes)", view.byte_length()));
        } else if let Ok(promise) = v8::Local::<v8::Promise>::try_from(object) {
            self.promise(scope, promise, parents, depth);
        } else if let Ok(regexp) = v8::Local::<v8::RegExp>::try_from(object) {
            self.regular_expression(scope, regexp);
        } else if object.is_weak_map() || object.is_weak_set() {
            let name = if object.is_weak_map() { "WeakMap" } else { "WeakSet" };
            self.out.push(&format!("{name} {{<items unknown>}}"));
        } else if !self.boxed_primitive(object) {
            self.plain(scope, object, parents, depth);
        }
    }

    /// Shows what a plain `toJSON` method returns, if there is one and it returns.
    fn through_to_json(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        object: v8::Local<'_, v8::Object>,
        parents: &Parents<'_>,
        depth: usize,
    ) -> bool {
        let Some(method) = lookup::inherited(scope, object, "toJSON") else { return false };
        let Ok(method) = v8::Local::<v8::Function>::try_from(method) else { return false };
        if method.is_proxy() {
            return false;
        }
        v8::tc_scope!(let scope, scope);
        let key = v8::String::empty(scope);
        let Some(value) = method.call(scope, object.into(), &[key.into()]) else {
            // What a stopped script was about to show is not shown.
            if scope.has_terminated() {
                self.out.close();
            }
            return scope.has_terminated();
        };
        // An object that returns itself is shown as what it is.
        if value.strict_equals(object.into()) {
            return false;
        }
        self.value(scope, value, Some(parents), depth);
        true
    }

    fn proxy(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        proxy: v8::Local<'_, v8::Proxy>,
        parents: &Parents<'_>,
        depth: usize,
    ) {
        if proxy.is_revoked() {
            self.out.push("Proxy <revoked>");
            return;
        }
        self.out.push("Proxy ");
        let target = proxy.get_target(scope);
        self.value(scope, target, Some(parents), depth);
    }

    fn function(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        function: v8::Local<'_, v8::Function>,
    ) {
        let key = v8::String::new(scope, "name");
        let name = key
            .and_then(|key| match lookup::own(scope, function.into(), key.into()) {
                Some(Property::Data(value)) => v8::Local::<v8::String>::try_from(value).ok(),
                _ => None,
            })
            .map(|name| name.to_rust_string_lossy(scope))
            .filter(|name| !name.is_empty());
        let (open, kind) =
            if is_class(scope, function) { ("[class", " ") } else { ("[Function", ": ") };
        self.out.push(open);
        self.out.push(if name.is_some() { kind } else { " " });
        self.out.push(name.as_deref().unwrap_or("(anonymous)"));
        self.out.push("]");
    }

    fn regular_expression(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        regexp: v8::Local<'_, v8::RegExp>,
    ) {
        let source = regexp.get_source(scope);
        self.out.push("/");
        self.out.push_v8(scope, source);
        self.out.push("/");
        self.out.push(&regexp::flags(scope, regexp));
    }

    /// `new Number(1)` and its like. V8's API does not give their value away.
    fn boxed_primitive(&mut self, object: v8::Local<'_, v8::Object>) -> bool {
        let kind = match () {
            () if object.is_number_object() => "Number",
            () if object.is_string_object() => "String",
            () if object.is_boolean_object() => "Boolean",
            () if object.is_big_int_object() => "BigInt",
            () if object.is_symbol_object() => "Symbol",
            () => return false,
        };
        self.out.push(&format!("[{kind}]"));
        true
    }

    fn plain(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        object: v8::Local<'_, v8::Object>,
        parents: &Parents<'_>,
        depth: usize,
    ) {
        let without_prototype =
            object.get_prototype(scope).is_none_or(|prototype| prototype.is_null());
        let name = object.get_constructor_name().to_rust_string_lossy(scope);
        if without_prototype && !object.is_module_namespace_object() {
            self.out.push("[Object: null prototype] ");
        } else if name != "Object" && !name.is_empty() {
            self.out.push(&name);
            self.out.push(" ");
        }
        self.out.push("{");
        self.properties(scope, object, &[], parents, depth);
        self.out.push("}");
    }

    /// Own enumerable properties behind something that has text of its own.
    pub(super) fn extra_properties(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        object: v8::Local<'_, v8::Object>,
        hidden: &[&str],
        parents: &Parents<'_>,
        depth: usize,
    ) {
        let Some(keys) = own_keys(scope, object, false) else { return };
        let any = (0..keys.length())
            .any(|at| keys.get_index(scope, at).is_some_and(|key| !is_hidden(scope, key, hidden)));
        if any {
            self.out.push(" {");
            self.properties(scope, object, hidden, parents, depth);
            self.out.push("}");
        }
    }

    pub(super) fn properties(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        object: v8::Local<'_, v8::Object>,
        hidden: &[&str],
        parents: &Parents<'_>,
        depth: usize,
    ) {
        let Some(keys) = own_keys(scope, object, true) else { return };
        let mut shown = 0;
        for at in 0..keys.length() {
            if self.out.is_full() {
                return;
            }
            v8::scope!(let scope, scope);
            let Some(key) = keys.get_index(scope, at) else { continue };
            if is_hidden(scope, key, hidden) {
                continue;
            }
            let Ok(key) = v8::Local::<v8::Name>::try_from(key) else { continue };
            if shown > 0 {
                self.out.push(",");
            }
            if shown >= INSPECT_ITEMS_MAX {
                self.out.push(&format!("… {} more", keys.length() - at));
                return;
            }
            shown += 1;
            match v8::Local::<v8::String>::try_from(key) {
                Ok(text) => self.out.push_quoted(scope, text),
                Err(_) => {
                    self.out.push("[");
                    self.value(scope, key.into(), None, depth);
                    self.out.push("]");
                }
            }
            self.out.push(":");
            self.property(scope, object, key, parents, depth);
        }
    }

    pub(super) fn property(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        object: v8::Local<'_, v8::Object>,
        key: v8::Local<'_, v8::Name>,
        parents: &Parents<'_>,
        depth: usize,
    ) {
        match lookup::own(scope, object, key) {
            Some(Property::Data(value)) => self.value(scope, value, Some(parents), depth),
            Some(Property::Accessor { getter: Some(_), setter: true }) => {
                self.out.push("[Getter/Setter]");
            }
            Some(Property::Accessor { setter: true, .. }) => self.out.push("[Setter]"),
            Some(Property::Accessor { .. }) => self.out.push("[Getter]"),
            None => self.out.push("<unavailable>"),
        }
    }
}

/// Names of own enumerable properties, indices as strings.
fn own_keys<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'_, v8::Object>,
    indices: bool,
) -> Option<v8::Local<'s, v8::Array>> {
    let args = v8::GetPropertyNamesArgs {
        mode: v8::KeyCollectionMode::OwnOnly,
        property_filter: v8::PropertyFilter::ONLY_ENUMERABLE,
        index_filter: if indices {
            v8::IndexFilter::IncludeIndices
        } else {
            v8::IndexFilter::SkipIndices
        },
        key_conversion: v8::KeyConversionMode::ConvertToString,
    };
    v8::tc_scope!(let scope, scope);
    object.get_property_names(scope, args)
}

fn is_hidden(isolate: &v8::Isolate, key: v8::Local<'_, v8::Value>, hidden: &[&str]) -> bool {
    !hidden.is_empty()
        && v8::Local::<v8::String>::try_from(key).is_ok_and(|key| {
            key.length() <= 8 && hidden.contains(&key.to_rust_string_lossy(isolate).as_str())
        })
}

/// Classes are functions of the script whose `prototype` cannot be replaced.
fn is_class(scope: &mut v8::PinScope<'_, '_>, function: v8::Local<'_, v8::Function>) -> bool {
    const NO_SCRIPT: i32 = -1;
    if function.script_id() == NO_SCRIPT || function.script_id() == 0 {
        return false;
    }
    v8::tc_scope!(let scope, scope);
    let Some(key) = v8::String::new(scope, "prototype") else { return false };
    if function.has_own_property(scope, key.into()) != Some(true) {
        return false;
    }
    function
        .get_property_attributes(scope, key.into())
        .is_some_and(|attributes| attributes.is_read_only())
}
