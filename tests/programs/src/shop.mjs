function price(item) {
  const prices = new Map([["apple", 3]]);
  if (!prices.has(item)) throw new RangeError(`no price for ${item}`);
  return prices.get(item);
}
console.log("shop opens", price("apple"));
console.warn("(node) prices are from yesterday");
try { price("plum"); } catch (cause) { console.error(new Error("order 2 is left out", { cause })); }
price("pear");
