/* The token of who hosts or moderates. */

/** Staff come with a token in the fragment; it stays in this tab and leaves the address bar. */
export const staffTokens = {
  guest: false,
  read: () => sessionStorage.getItem("showcart.staff"),
  write: (token) => sessionStorage.setItem("showcart.staff", token),
  drop: () => sessionStorage.removeItem("showcart.staff"),
  take() {
    addEventListener("hashchange", () => location.hash.startsWith("#token=") && location.reload()); // a link to the page that is open already
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (token) {
      this.write(token);
      history.replaceState(null, "", location.pathname + location.search);
    }
    return this.read();
  },
};
