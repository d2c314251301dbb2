//! Reading properties without running any code of the script.

use crate::limits::PROTOTYPES_MAX;

/// A property as it is stored.
pub(super) enum Property<'s> {
    Data(v8::Local<'s, v8::Value>),
    Accessor { getter: Option<v8::Local<'s, v8::Function>>, setter: bool },
}

/// The own property `key` of `object`, which must not be a proxy.
pub(super) fn own<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'_, v8::Object>,
    key: v8::Local<'_, v8::Name>,
) -> Option<Property<'s>> {
    v8::tc_scope!(let scope, scope);
    let descriptor = object.get_own_property_descriptor(scope, key)?;
    let descriptor = v8::Local::<v8::Object>::try_from(descriptor).ok()?;
    // The descriptor inherits from the script's `Object.prototype`: ask for its own fields only.
    let field = |name: &str| {
        let key = v8::String::new(scope, name)?;
        if !descriptor.has_own_property(scope, key.into())? {
            return None;
        }
        descriptor.get(scope, key.into())
    };
    if let Some(value) = field("value") {
        return Some(Property::Data(value));
    }
    let getter = field("get").and_then(|getter| v8::Local::try_from(getter).ok());
    let setter = field("set").is_some_and(|setter| setter.is_function());
    Some(Property::Accessor { getter, setter })
}

/// The data property `name` of `object` or its prototypes. A getter or a proxy on the way hides it.
pub(super) fn inherited<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'_, v8::Object>,
    name: &str,
) -> Option<v8::Local<'s, v8::Value>> {
    let key = v8::String::new(scope, name)?;
    let mut holder: v8::Local<'s, v8::Object> = v8::Local::new(scope, object);
    for _ in 0..PROTOTYPES_MAX {
        if holder.is_proxy() {
            return None;
        }
        match own(scope, holder, key.into()) {
            Some(Property::Data(value)) => return Some(value),
            Some(Property::Accessor { .. }) => return None,
            None => holder = v8::Local::try_from(holder.get_prototype(scope)?).ok()?,
        }
    }
    None
}
