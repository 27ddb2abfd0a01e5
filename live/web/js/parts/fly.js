/* The ornament of an add: loaded with the first one. */
import { h, icon } from "../dom.js";

/** A small basket on its way from the button to the cart. */
export function fly(from) {
  const target = [...document.querySelectorAll("[data-cart]")].find((element) => element.offsetParent !== null);
  if (!target) return;
  const [start, end] = [from.getBoundingClientRect(), target.getBoundingClientRect()];
  const basket = h("div", { class: "basket", "aria-hidden": "true" }, icon("cart"));
  document.body.append(basket);
  const at = (box, scale) => `translate(${box.left + box.width / 2 - 16}px, ${box.top + box.height / 2 - 16}px) scale(${scale})`;
  basket.animate([{ transform: at(start, 1.2), opacity: 1 }, { transform: at(end, 0.6), opacity: 0.6 }], { duration: 200, easing: "ease-in" })
    .finished.finally(() => basket.remove());
}
