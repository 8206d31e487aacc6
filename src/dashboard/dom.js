// Makes elements and brings a page up to date in place, so that what has the focus, what is scrolled and
// what is hovered stays so when new figures arrive. Text is always set as text, never parsed as markup.

/** @typedef {Node | string | number | false | null | undefined} Child */
/** @typedef {Element & {$on?: Record<string, (event: any) => void>, $update?: (props: any) => void, $kind?: string, $props?: any, $given?: any}} Made */

const SVG = "http://www.w3.org/2000/svg";
/** What is set as a property: its attribute says only how the element began. */
const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "hidden", "open", "indeterminate"]);

/** @param {Event} event */
function dispatch(event) {
  const target = /** @type {Made} */ (event.currentTarget);
  target.$on?.[event.type]?.(event);
}

/** @param {Made} element @param {string} type @param {(event: any) => void} handler */
function listen(element, type, handler) {
  element.$on ??= {};
  if (!(type in element.$on)) element.addEventListener(type, dispatch);
  element.$on[type] = handler;
}

/** @param {Made} element @param {Record<string, any> | null} attributes @param {any[]} children */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) {
      if (PROPERTIES.has(name)) /** @type {any} */ (element)[name] = value ?? (name === "value" ? "" : false);
    } else if (name.startsWith("on")) {
      listen(element, name.slice(2), value);
    } else if (name === "style") {
      // By the object model: a policy without inline styles forbids the attribute.
      for (const [property, text] of Object.entries(value)) /** @type {any} */ (element).style.setProperty(property, text);
    } else if (PROPERTIES.has(name)) {
      /** @type {any} */ (element)[name] = value;
      if (name === "value" || name === "checked") element.$given = value;
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  // The choice can be made only when the options are there.
  if (element instanceof HTMLSelectElement && attributes?.value !== undefined) element.value = attributes.value;
  return element;
}

/**
 * Makes an HTML element.
 * @param {string} tag @param {Record<string, any> | null} [attributes] @param {...any} children
 * @returns {any}
 */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes ?? null, children);
}

/**
 * Makes an SVG element.
 * @param {string} tag @param {Record<string, any> | null} [attributes] @param {...any} children
 * @returns {any}
 */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes ?? null, children);
}

/**
 * An element that keeps a state of its own: when the page is brought up to date it gets the new
 * properties and changes itself.
 * @param {string} kind @param {any} props @param {(element: any, props: any) => (props: any) => void} setup
 */
export function component(kind, props, setup) {
  /** @type {Made} */
  const element = document.createElement("div");
  element.$kind = kind;
  element.$props = props;
  element.$update = setup(element, props);
  return element;
}

/** @param {Node} node */
const keyOf = (node) => (node instanceof Element ? node.getAttribute("data-key") : null);

/** @param {Node} old @param {Node} made */
function alike(old, made) {
  return old.nodeName === made.nodeName
    && old.nodeType === made.nodeType
    && keyOf(old) === keyOf(made)
    && /** @type {Made} */ (old).$kind === /** @type {Made} */ (made).$kind;
}

/**
 * Makes `old` look like `made`, and changes no more than that takes.
 * @param {any} old @param {any} made
 */
export function patch(old, made) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== made.data) old.data = made.data;
    return;
  }
  if (old.$update) {
    old.$props = made.$props;
    old.$update(made.$props);
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!made.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of made.attributes) {
    if (old.getAttribute(name) !== value && name !== "style") old.setAttribute(name, value);
  }
  if (made.style && old.style.cssText !== made.style.cssText) {
    for (const property of [...old.style]) {
      if (!made.style.getPropertyValue(property)) old.style.removeProperty(property);
    }
    for (const property of made.style) old.style.setProperty(property, made.style.getPropertyValue(property));
  }
  if (made.$on) {
    for (const [type, handler] of Object.entries(made.$on)) listen(old, type, /** @type {any} */ (handler));
  }
  patchChildren(old, made);
  const isForm = old instanceof HTMLInputElement || old instanceof HTMLSelectElement || old instanceof HTMLTextAreaElement;
  // What somebody typed stays, unless the page itself now says something else.
  if (isForm && made.$given !== /** @type {Made} */ (old).$given) {
    /** @type {Made} */ (old).$given = made.$given;
    if (old !== document.activeElement && old.value !== made.value) old.value = made.value;
    if (old instanceof HTMLInputElement && old.checked !== made.checked) old.checked = made.checked;
  }
}

/** @param {any} old @param {any} made */
function patchChildren(old, made) {
  const keyed = new Map();
  for (const child of old.childNodes) {
    const key = keyOf(child);
    if (key !== null) keyed.set(key, child);
  }
  let at = old.firstChild;
  for (const next of [...made.childNodes]) {
    const key = keyOf(next);
    const known = key === null ? at : keyed.get(key);
    if (known && alike(known, next)) {
      if (known !== at) old.insertBefore(known, at);
      else at = at.nextSibling;
      patch(known, next);
    } else {
      old.insertBefore(next, at);
    }
  }
  while (at) {
    const rest = at.nextSibling;
    at.remove();
    at = rest;
  }
}

/** Puts `children` in place of what was in `element`. @param {Element} element @param {...any} children */
export function show(element, ...children) {
  const holder = document.createElement(element.tagName);
  fill(holder, null, children);
  patchChildren(element, holder);
}
