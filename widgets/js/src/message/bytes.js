// Bytes in other forms.

const LINE = 16; // bytes in a line of hex

/** @param {DataView<ArrayBuffer>} view */
export const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** @param {Uint8Array<ArrayBuffer>} bytes */
export const textOf = (bytes) => new TextDecoder().decode(bytes);

/**
 * Lines of a place, 16 bytes in hex, and as characters where they are printable.
 *
 * @param {Uint8Array} bytes
 */
export function hexOf(bytes) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += LINE) {
    const part = bytes.subarray(start, start + LINE);
    const codes = Array.from(part, (byte) => byte.toString(16).padStart(2, "0"));
    const chars = Array.from(part, (byte) =>
      byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".",
    );
    const halves = `${codes.slice(0, 8).join(" ")}  ${codes.slice(8).join(" ")}`;
    lines.push(`${start.toString(16).padStart(8, "0")}  ${halves.padEnd(48)}  ${chars.join("")}`);
  }
  return lines.join("\n");
}
