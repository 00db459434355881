// Makes elements. Text becomes a text node and nothing else: no function here takes markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element.
 * @param {string} tag
 * @param {Object} attributes `class`, `dataset`, listeners like `onclick`, and attributes; those that are null,
 *     undefined or false are left out.
 * @param {...(Node|string|number|null|Array)} children
 */
export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** An SVG element; see `h`. */
export function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "href") element.setAttribute("href", safeLink(value));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** A link that stays on this origin; a link such as `javascript:` is a mistake of ours. */
function safeLink(link) {
  if (new URL(link, document.baseURI).origin !== location.origin) throw new Error(`no link of this page: ${link}`);
  return link;
}

/** Puts children in the place of what an element has; the focus and open details stay, by their ids. */
export function replace(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...element.querySelectorAll("details[open][id]")].map((each) => each.id);
  element.replaceChildren();
  append(element, children);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** Text that a screen reader reads, and nobody sees. */
export function unseen(text) {
  return h("span", { class: "unseen" }, text);
}

/** Tells a screen reader what has happened. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

let lastId = 0;

/** An id that no other element has. */
export function newId(name) {
  lastId += 1;
  return `${name}-${lastId}`;
}
