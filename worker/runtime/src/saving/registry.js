// `FinalizationRegistry` of heaps that are kept. Runs once, when the base is baked.
//
// V8 cannot write a heap in which one of its own has work to do. The language allows that a callback
// is never called, and in a process that ends with its script V8 all but never calls one. This one
// never does; it checks what the language has it check, and answers `unregister` as it should.
(function () {
  'use strict';
  const uncurry = Function.prototype.bind.bind(Function.prototype.call);
  const {defineProperty} = Reflect;
  const {keyFor} = Symbol;
  const Tokens = WeakMap;
  const get = uncurry(Tokens.prototype.get);
  const set = uncurry(Tokens.prototype.set);
  const remove = uncurry(Tokens.prototype.delete);
  const isWeak = value =>
    (typeof value === 'object' && value !== null) || typeof value === 'function' ||
    (typeof value === 'symbol' && keyFor(value) === undefined);
  const Registry = class FinalizationRegistry {
    #tokens = new Tokens();
    constructor(cleanup) {
      if (typeof cleanup !== 'function') {
        throw new TypeError('FinalizationRegistry: cleanup must be callable');
      }
    }
    register(target, holdings, token) {
      this.#tokens;
      if (!isWeak(target)) {
        throw new TypeError('FinalizationRegistry.prototype.register: invalid target');
      }
      if (target === holdings) {
        throw new TypeError(
          'FinalizationRegistry.prototype.register: target and holdings must not be same');
      }
      if (isWeak(token)) {
        set(this.#tokens, token, true);
      } else if (token !== undefined) {
        throw new TypeError('FinalizationRegistry.prototype.register: invalid unregister token');
      }
    }
    unregister(token) {
      this.#tokens;
      if (!isWeak(token)) {
        throw new TypeError('FinalizationRegistry.prototype.unregister: invalid unregister token');
      }
      return get(this.#tokens, token) === true && remove(this.#tokens, token);
    }
  };
  const {prototype} = Registry;
  defineProperty(prototype.register, 'length', {value: 2, configurable: true});
  defineProperty(prototype, Symbol.toStringTag,
                 {value: 'FinalizationRegistry', configurable: true});
  return Registry;
})
