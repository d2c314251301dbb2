//! What of ours is in a heap, out of the script's reach: one object behind a private symbol of the
//! global object, which is written and restored with everything else.

/// The private symbol.
const NAME: &str = "mcp-v8 internals";

/// The function that describes an object and makes it again; see `recipes.js`.
const DESCRIBE: &str = "describe";
const REBUILD: &str = "rebuild";
/// The function that drops the batch of `Math.random`.
const FORGET_RANDOM: &str = "forgetRandom";
/// What `WebAssembly` is, until it is first looked at.
const WEB_ASSEMBLY: &str = "webAssembly";
/// That it was looked at.
const WEB_ASSEMBLY_USED: &str = "webAssemblyUsed";
/// The tag of JavaScript's exceptions, which V8 itself holds in every context.
const JS_TAG: &str = "jsTag";
/// How many scripts this heap has seen.
const RUNS: &str = "runs";

/// The object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Internals<'s>(v8::Local<'s, v8::Object>);

impl<'s> Internals<'s> {
    /// Makes the object of the current context. For the base.
    pub(super) fn create(scope: &mut v8::PinScope<'s, '_>) -> Option<Self> {
        let nothing = v8::null(scope).into();
        let object = v8::Object::with_prototype_and_properties(scope, nothing, &[], &[]);
        let global = scope.get_current_context().global(scope);
        let key = key(scope)?;
        global.set_private(scope, key, object.into())?.then_some(Self(object))
    }

    /// The object of the current context; none in one that was not made to be kept.
    pub(crate) fn of(scope: &mut v8::PinScope<'s, '_>) -> Option<Self> {
        let global = scope.get_current_context().global(scope);
        let key = key(scope)?;
        v8::Local::try_from(global.get_private(scope, key)?).ok().map(Self)
    }

    pub(super) fn set_describe(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        recipe: v8::Local<'_, v8::Object>,
    ) -> Option<()> {
        for name in [DESCRIBE, REBUILD] {
            let key = v8::String::new(scope, name)?;
            let function = recipe.get(scope, key.into())?;
            self.set(scope, name, function)?;
        }
        Some(())
    }

    pub(super) fn set_forget_random(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        function: v8::Local<'_, v8::Function>,
    ) -> Option<()> {
        self.set(scope, FORGET_RANDOM, function.into())
    }

    pub(super) fn set_web_assembly(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'_, v8::Value>,
        js_tag: v8::Local<'_, v8::Value>,
    ) -> Option<()> {
        self.set(scope, WEB_ASSEMBLY, object)?;
        self.set(scope, JS_TAG, js_tag)
    }

    /// Whether this is V8's own tag, which no script can reach.
    pub(super) fn is_js_tag(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        object: &v8::Global<v8::Object>,
    ) -> bool {
        let tag =
            self.get(scope, JS_TAG).and_then(|tag| v8::Local::<v8::Object>::try_from(tag).ok());
        tag.is_some_and(|tag| tag == *object)
    }

    /// What is to stand for `WebAssembly` from now on. From then on the heap is searched for what
    /// comes of it.
    pub(crate) fn use_web_assembly(
        self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> Option<v8::Local<'s, v8::Value>> {
        let used = v8::Boolean::new(scope, true);
        self.set(scope, WEB_ASSEMBLY_USED, used.into())?;
        self.get(scope, WEB_ASSEMBLY)
    }

    pub(crate) fn is_web_assembly_used(self, scope: &mut v8::PinScope<'s, '_>) -> bool {
        self.get(scope, WEB_ASSEMBLY_USED).is_some_and(|used| used.is_true())
    }

    /// How many scripts the heap has seen before this one.
    pub(crate) fn runs(self, scope: &mut v8::PinScope<'s, '_>) -> u32 {
        self.get(scope, RUNS).and_then(|runs| runs.uint32_value(scope)).unwrap_or(0)
    }

    /// One more has run.
    pub(crate) fn count_run(self, scope: &mut v8::PinScope<'s, '_>) -> Option<()> {
        let runs = self.runs(scope).saturating_add(1);
        let runs = v8::Integer::new_from_unsigned(scope, runs);
        self.set(scope, RUNS, runs.into())
    }

    /// Drops what `Math.random` has in store.
    pub(crate) fn forget_random(self, scope: &mut v8::PinScope<'s, '_>) -> Option<()> {
        self.call(scope, FORGET_RANDOM, &[]).map(|_| ())
    }

    /// What `object` can be made again from; nothing when that would be another.
    pub(super) fn describe(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        kind: &str,
        object: v8::Local<'_, v8::Object>,
    ) -> Option<v8::Local<'s, v8::Value>> {
        let kind = v8::String::new(scope, kind)?;
        let described = self.call(scope, DESCRIBE, &[kind.into(), object.into()])?;
        (!described.is_undefined()).then_some(described)
    }

    /// An object made from its description.
    pub(super) fn rebuild(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        kind: v8::Local<'_, v8::Value>,
        description: v8::Local<'_, v8::Value>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let made = self.call(scope, REBUILD, &[kind, description])?;
        v8::Local::try_from(made).ok()
    }

    fn call(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        name: &str,
        args: &[v8::Local<'_, v8::Value>],
    ) -> Option<v8::Local<'s, v8::Value>> {
        let function = v8::Local::<v8::Function>::try_from(self.get(scope, name)?).ok()?;
        v8::tc_scope!(let scope, scope);
        let this = v8::undefined(scope).into();
        function.call(scope, this, args)
    }

    fn get(self, scope: &mut v8::PinScope<'s, '_>, name: &str) -> Option<v8::Local<'s, v8::Value>> {
        let key = v8::String::new(scope, name)?;
        self.0.get(scope, key.into())
    }

    fn set(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        name: &str,
        value: v8::Local<'_, v8::Value>,
    ) -> Option<()> {
        let key = v8::String::new(scope, name)?;
        self.0.set(scope, key.into(), value)?.then_some(())
    }
}

fn key<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Private>> {
    let name = v8::String::new(scope, NAME)?;
    Some(v8::Private::for_api(scope, Some(name)))
}
