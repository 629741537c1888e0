import KeelCore
import KeelTensor

/// Writes safetensors files: whole or absent, one tensor in memory at a time.
package enum SafetensorsWriter {
    /// A tensor to be written.
    package struct Item {
        package var name: String
        package var tensor: Tensor
        /// What its cells become in the file: f32, f64, bf16 or i32.
        package var type: DType

        /// The tensor under its name; nil stores it in its own type.
        package init(_ name: String, _ tensor: Tensor, as type: DType? = nil) {
            self.name = name
            self.tensor = tensor
            self.type = type ?? tensor.dtype
        }
    }

    /// Writes the tensors in their order; data order is header order.
    ///
    /// - Parameter metadata: texts for `__metadata__`; transformers wants `"format": "pt"`.
    /// - Throws: `KeelError` (io, cannotCreate); then nothing is left behind.
    package static func write(
        _ path: String, _ items: [Item], metadata: JSONObject = ["format": "pt"]
    ) throws {
        var header = JSONObject()
        header.append("__metadata__", .object(metadata))
        var at = 0
        for item in items {
            let end = at + item.tensor.count * item.type.size
            header.append(
                item.name,
                [
                    "dtype": .string(storedType(item.type).rawValue),
                    "shape": .array(item.tensor.shape.map { JSON($0) }),
                    "data_offsets": [JSON(at), JSON(end)],
                ])
            at = end
        }
        var text = Array(JSON.object(header).text().utf8)
        // Spaces up to a multiple of 8, so that the data start aligned.
        text += [UInt8](repeating: UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
        let length = UInt64(text.count)
        try AtomicWrite.file(path) { output in
            try output.write((0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) })
            try output.write(text)
            for item in items {
                let tensor = item.tensor.detach()
                let stored = tensor.dtype == item.type ? tensor : tensor.cast(item.type)
                try stored.withBytes { try output.write($0) }
            }
        }
    }

    private static func storedType(_ dtype: DType) -> StoredType {
        switch dtype {
        case .f32: .f32
        case .f64: .f64
        case .bf16: .bf16
        case .i32: .i32
        }
    }
}
