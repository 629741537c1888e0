import KeelTensor

/// The one decoder of all families: embed, blocks, final norm.
package struct Decoder: Sendable {
    package let architecture: Architecture

    /// States after the final norm of the rows that are asked for.
    ///
    /// - Parameters:
    ///   - ids: i32 `[rows]`
    ///   - selected: i32 `[n]`, rows; the others leave the pass after the last block.
    ///   - seen: gets the states behind each module, with its name.
    /// - Returns: `[n, hidden]`
    func hidden(
        ids: Tensor, selected: Tensor, _ pass: Pass, seen: (String, Tensor) -> Void = { _, _ in }
    ) -> Tensor {
        var x = NN.embedding(
            pass[architecture.embedding], ids: ids, padding: architecture.paddingID)
        if let update = pass.adapter?.update(
            of: architecture.embedding, ids: ids, padding: architecture.paddingID, pass)
        {
            x = NN.add(x, update)
        }
        if let scale = architecture.embeddingScale {
            x = NN.scale(
                x, Tensor([scale], shape: [1], dtype: x.dtype, device: x.device).doubles()[0])
        }
        if let table = architecture.positions {
            x = NN.add(x, NN.embedding(pass[table], ids: pass.positions))
        }
        seen("the embedding", x)
        for (i, block) in architecture.blocks.enumerated() {
            x = pass.run(block, layer: i, x)
            seen("layer \(i)", x)
        }
        let states = architecture.finalNorm(NN.gatherRows(x, selected), pass)
        seen("the final norm", states)
        return states
    }
}
