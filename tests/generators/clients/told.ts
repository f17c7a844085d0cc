// Where to call, with which key, and how to say what came of a call.
export const url = process.env["BATON"]!;
export const key = process.env["KEY"]!;

export function told(call: string, status: number, value: unknown) {
  console.log(JSON.stringify([call, status, value]));
}
