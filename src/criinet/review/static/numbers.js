// Numbers as report/text.py writes them, but for the minus sign.

// A share; what is below 1 stays below it.
export const number = (value, digits = 3) =>
  (value < 1 ? Math.min(value, 1 - 10 ** -digits) : value).toFixed(digits).replace(/^0/, "");

// A difference; one that rounds to 0 has no sign.
export function signed(value, digits = 3) {
  const text = number(Math.abs(value), digits);
  return (Number(text) === 0 ? "" : value < 0 ? "−" : "+") + text;
}

// An end of the interval of a difference; one that rounds to 0 has more digits, which show its sign.
export const end = (value) => signed(value, [3, 4, 5, 6].find((digits) => Number(value.toFixed(digits))) ?? 3);
