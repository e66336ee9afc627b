/** A computation that several readers may wait for. */
import type { Transfers } from "../forward/transfers.ts";
import type { Computation, Reader } from "./reader.ts";

export abstract class Shared implements Computation {
	/** The stretch without writes in which it began; undefined: nobody may join. */
	readonly quiet: number | undefined;
	protected readonly readers = new Set<Reader>();
	/** Says that nobody can join any more. */
	protected close: () => void = () => {};

	constructor(quiet: number | undefined) {
		this.quiet = quiet;
	}

	/** @param then called once nobody can join any more */
	ended(then: () => void): void {
		this.close = then;
	}

	add(reader: Reader): void {
		this.readers.add(reader);
	}

	/** It may have waited for MLflow, and who was let in may have been shut out meanwhile. */
	protected shutOut(transfers: Pick<Transfers, "stands">): void {
		for (const reader of this.readers) {
			if (!transfers.stands(reader.identity)) reader.end("CREDENTIAL_ENDED");
		}
	}

	/** @param reader whose headers and patience it goes by */
	abstract start(reader: Reader): void;
	abstract leave(reader: Reader): void;
}
