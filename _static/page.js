/* What the theme, Bokeh and Panel leave undone: names for screen readers, figures that fit the page,
   and a wheel that scrolls it. */
"use strict";

(() => {
  // --- The theme ---------------------------------------------------------------------------------

  // A name contains the text that is shown, and a fold of the sidebar has one.
  function nameControls() {
    for (const control of document.querySelectorAll("summary[aria-label], .search-button-field"))
      control.removeAttribute("aria-label");
    for (const link of document.querySelectorAll(".bd-links .has-children > a"))
      link.parentElement.querySelector(":scope > details > summary")
        ?.setAttribute("aria-label", `Sections of ${link.textContent.trim()}`);
    nameSwitches();
  }

  function nameSwitches() {
    for (const button of document.querySelectorAll(".theme-switch-button")) {
      const icon = button.querySelector(`[data-mode="${document.documentElement.dataset.mode}"]`);
      const mode = icon?.querySelector("title")?.textContent ?? icon?.getAttribute("title");
      button.setAttribute("aria-label", `Color mode: ${mode}`);
    }
  }

  function keepFocus() {
    for (const button of document.querySelectorAll(".theme-switch-button"))
      button.addEventListener("click", () => setTimeout(() => button.focus()));
    new MutationObserver(nameSwitches)
      .observe(document.documentElement, { attributeFilter: ["data-mode"] });
  }

  // Figures are drawn with text of 9 points or more at 150 pixels per inch, and diagrams with text of
  // 15 pixels. On a phone they stay so wide that this text has 9 pixels. On a wide page a figure is
  // not wider than it was drawn, so that text has one size in all of them.
  function sizePictures() {
    for (const image of document.querySelectorAll(".bd-article img")) {
      const isDiagram = image.src.endsWith(".svg");
      if (!image.naturalWidth || !(isDiagram || image.closest(".cell_output"))) continue;
      const scale = isDiagram ? 9 / 15 : 9 / (9 * 150 / 72);
      image.style.minWidth = `${Math.ceil(image.naturalWidth * scale)}px`;
      if (!isDiagram) image.style.maxWidth = `min(100%, ${image.naturalWidth * 96 / 150}px)`;
    }
  }

  // What is wider than the page scrolls within its box, with the keyboard, too.
  function focusScrollers() {
    const boxes = "div.cell_output .output, pre, mjx-container[display], figure, p,"
      + " .pst-scrollable-table-container";
    for (const box of document.querySelectorAll(boxes))
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }

  // --- Interactive figures -----------------------------------------------------------------------

  const MARGIN = 10; // pixels that Panel leaves at each side of a figure
  const SMALLER_AT_MOST = 60; // pixels that a frame gives up before figures are stacked

  const boxOf = view => view.el.getBoundingClientRect();

  function shrink({ model, root }, excess) {
    if (excess <= 0) return;
    root.model.min_width = 0;
    if (model.frame_width) {
      const share = 1 - excess / model.frame_width;
      model.frame_height = Math.floor(model.frame_height * share);
      model.frame_width = Math.floor(model.frame_width * share);
    } else {
      // The names beside a diagram keep their room.
      const { x_range: range, width } = model;
      const margin = (range.end - range.start) * (width / (width - excess) - 1) / 2;
      [range.start, range.end] = [range.start - margin, range.end + margin];
      model.width -= excess;
    }
  }

  // Make figures smaller until they fit; if they would become too small, draw one below the other.
  function fit(figures, grid, room) {
    const columns = grid ? new Set(grid.model.children.map(([, , column]) => column)).size : 1;
    const boxes = figures.map(boxOf);
    const width = Math.max(...boxes.map(box => box.right)) - Math.min(...boxes.map(box => box.left));
    const excess = Math.max(0, (width - room) / columns);
    const isStacked = columns > 1 && excess > SMALLER_AT_MOST;
    figures.forEach((view, i) => shrink(view, isStacked ? boxes[i].width - room : excess));
    if (isStacked)
      grid.model.children = grid.model.children.map(([figure], row) => [figure, row, 0]);
  }

  function nameFigure(view, place) {
    const title = view.model.title?.text;
    const canvas = view.canvas_view.events_el;
    canvas.setAttribute("role", "group");
    canvas.setAttribute("aria-label", ["Interactive figure", title, place].filter(Boolean).join(": "));
  }

  // Panel shows the name and the value of a slider in an element of its own: "time: 2019-04-02".
  function nameSlider(view) {
    const handle = view.el.shadowRoot.querySelector(".noUi-handle");
    const label = view.el.previousElementSibling?.shadowRoot;
    const set = (attribute, text) => {
      if (handle.getAttribute(attribute) !== text) handle.setAttribute(attribute, text);
    };
    const update = () => {
      const text = label?.querySelector(".bk-clearfix")?.textContent;
      const [name, ...value] = (text || view.model.title || "value").split(":");
      set("aria-label", name.trim());
      if (value.length) set("aria-valuetext", value.join(":").trim());
    };
    update();
    const observer = new MutationObserver(update);
    observer.observe(handle, { attributeFilter: ["aria-valuetext"] });
    if (label) observer.observe(label, { childList: true, characterData: true, subtree: true });
    const focus = () => setTimeout(() => handle.focus());
    view.el.shadowRoot.addEventListener("pointerdown", () =>
      document.addEventListener("pointerup", focus, { once: true, capture: true }), true);
  }

  // The wheel zooms a figure that has the focus, and scrolls the page over all others.
  function tameWheel(host, toolbars) {
    const zoom = isActive => {
      for (const toolbar of toolbars)
        for (const tool of toolbar.gestures.scroll.tools.slice(0, 1)) tool.active = isActive;
    };
    zoom(false);
    host.addEventListener("focusin", () => zoom(true));
    host.addEventListener("focusout", () => zoom(false));
  }

  function prepare(host, views) {
    const of = type => views.filter(view => view.model.type === type);
    const [figures, [grid]] = [of("Figure"), of("GridPlot")];
    if (figures.length) {
      const box = host.closest(".output") ?? host.parentElement;
      const room = box.clientWidth - 2 * MARGIN;
      const section = host.closest("section");
      const place = host.closest(".cell")?.querySelector(".caption-text, figcaption")?.textContent
        ?? section?.querySelector("h1, h2, h3, h4")?.firstChild.textContent;
      for (const view of figures) nameFigure(view, place?.trim());
      tameWheel(host, [...figures, ...(grid ? [grid] : [])].map(view => view.model.toolbar));
      fit(figures, grid, room);
    }
    for (const view of of("Slider")) nameSlider(view);
  }

  // Bokeh draws figures some time after the page is there, and those in a fold when it is opened.
  function watch() {
    const waiting = new Set(document.querySelectorAll("[data-root-id]"));
    const timer = setInterval(() => {
      if (!window.Bokeh?.index) return;
      const models = Bokeh.documents.flatMap(one => [...one._all_models.values()])
        .filter(model => ["Figure", "GridPlot", "Slider"].includes(model.type));
      for (const host of waiting) {
        const root = Bokeh.index.get_by_id(host.dataset.rootId);
        if (!root) continue;
        const views = models.map(model => Bokeh.index.find_one(model))
          .filter(view => view?.el && view.root === root);
        if (views.some(view => view.model.type === "Figure" && !boxOf(view).width)) continue;
        waiting.delete(host);
        prepare(host, views);
      }
      if (!waiting.size) clearInterval(timer);
    }, 250);
  }

  document.addEventListener("DOMContentLoaded", () => {
    keepFocus();
    watch();
  });
  window.addEventListener("load", async () => {
    nameControls();
    sizePictures();
    await window.MathJax?.startup?.promise;
    focusScrollers();
  });
})();
