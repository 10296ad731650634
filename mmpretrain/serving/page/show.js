// What came back, as elements; texts enter the page as texts only.

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

export function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export const note = (text) => make("p", { className: "note" }, text);
export const busy = () => make("p", { className: "busy" }, "working");
export const wrong = (text) => make("p", { className: "wrong" }, text);

/** A share as a length. */
function bar(share, told) {
  const inner = make("i");
  inner.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  const outer = make("span", { className: "bar" }, inner);
  outer.setAttribute("role", "img");
  outer.setAttribute("aria-label", told);
  return outer;
}

/** Names with shares, the best first. */
export function bars(rows) {
  const list = make("ul", { className: "bars" });
  for (const [name, share] of rows) {
    const value = make("span", { className: "value" }, percent(share));
    list.append(make("li", {}, make("span", { className: "name" }, name), bar(share, percent(share)), value));
  }
  return list;
}

/** Pictures that were found; `choose` is called with the address of one. */
export function pictures(answer, choose) {
  if (!answer.found.length) return [note("Nothing was found.")];
  const grid = make("div", { className: "grid" });
  for (const hit of answer.found) {
    const told = hit.caption ?? hit.key ?? `picture ${hit.place}`;
    const image = make("img", { src: hit.thumbnail, alt: told, loading: "lazy", width: 160, height: 160 });
    const score = make("span", { className: "score" }, hit.score.toFixed(3));
    const found = make("button", { type: "button", className: "found", title: "Search by this picture" });
    found.append(image, make("span", {}, told), score, bar(hit.score, `cosine ${hit.score.toFixed(2)}`));
    found.addEventListener("click", () => choose(hit.thumbnail));
    grid.append(found);
  }
  return [grid];
}

export function classes(answer) {
  return [bars(answer.classes.map((each) => [each.label, each.probability]))];
}

export function captions(answer) {
  const best = make("blockquote", {}, answer.caption || "(nothing)");
  const others = answer.captions.slice(1).filter((each) => each.caption);
  if (!others.length) return [best];
  const most = answer.captions[0].log_probability;
  const rows = answer.captions.map((each) => [each.caption, Math.exp(Math.min(0, each.log_probability - most))]);
  return [best, note("Beside the best, by likelihood:"), bars(rows)];
}

export function answers(answer) {
  return answer.answers.flatMap((each) => [
    make("h3", {}, each.answers[0]?.answer ?? "no answer", make("span", {}, each.head)),
    bars(each.answers.map((one) => [one.answer, one.probability])),
  ]);
}

export function heat(answer) {
  const grid = make("div", { className: "grid" });
  for (const each of answer.maps) {
    grid.append(
      make("figure", { className: "heat" }, make("img", { src: each.png, alt: `Where “${each.word}” is seen` }),
        make("span", {}, each.word)),
    );
  }
  return [grid, note("Yellow is where the model looks, dark where it does not.")];
}
