/** Gives the person a file to keep. */
export function saveAs(bytes: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(bytes);
  link.download = name;
  link.click();
  // The browser has taken hold of it long before.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
