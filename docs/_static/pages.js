// A figure opens in its full size by a click: its letters are small on a phone.
for (const image of document.querySelectorAll("article img")) {
  if (image.closest("a, .sphx-glr-thumbcontainer")) continue;
  const link = document.createElement("a");
  link.href = image.src;
  link.title = "full size";
  image.replaceWith(link);
  link.append(image);
}

// A cell that holds a sentence needs more room on a phone than one that holds a number.
for (const cell of document.querySelectorAll("article td")) {
  if (cell.textContent.length > 60) cell.classList.add("sentence");
}
