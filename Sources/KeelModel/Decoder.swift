import KeelTensor

/// The one decoder of all families: embed, blocks, final norm.
package struct Decoder: Sendable {
    package let architecture: Architecture

    /// States after the final norm of the rows that are asked for.
    ///
    /// - Parameters:
    ///   - ids: i32 `[rows]`
    ///   - selected: i32 `[n]`, rows; the others leave the pass behind the last block's attention.
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
        let needed = Needed(selected, of: x.rows)
        for (i, block) in architecture.blocks.enumerated() {
            let isLast = i == architecture.blocks.count - 1
            x = pass.run(block, layer: i, x, leaving: isLast ? needed?.rows : nil)
            seen("layer \(i)", x)
        }
        let places = architecture.blocks.isEmpty ? selected : needed?.places ?? selected
        let states = architecture.finalNorm(NN.gatherRows(x, places), pass)
        seen("the final norm", states)
        return states
    }
}

/// The rows that are wanted of the last block, each once.
private struct Needed {
    /// Ascending.
    let rows: [Int32]
    /// i32 `[n]`: where among `rows` the selected ones are.
    let places: Tensor

    /// - Returns: nil where all rows are wanted.
    init?(_ selected: Tensor, of count: Int) {
        let wanted = selected.ints().map { Int($0) }
        var place = [Int32](repeating: -1, count: count)
        for row in wanted { place[row] = 0 }
        var rows: [Int32] = []
        for row in place.indices where place[row] == 0 {
            place[row] = Int32(rows.count)
            rows.append(Int32(row))
        }
        guard rows.count < count else { return nil }
        self.rows = rows
        places = Tensor(wanted.map { place[$0] }, device: selected.device)
    }
}
