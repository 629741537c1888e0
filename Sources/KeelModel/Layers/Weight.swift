import KeelCore
import KeelTensor

/// A tensor that a family expects: its name in the weight file, its shape, how a new one starts.
package struct Weight: Sendable, Hashable {
    /// The family's own spelling; a file may leave the family's prefix out.
    package var name: String
    /// As the file stores it.
    package var shape: [Int]
    /// How a new one is filled.
    package var start: Start

    /// What a new model's tensor holds.
    package enum Start: Sendable, Hashable {
        case zeros
        case ones
        /// Normal with `initializer_range` times this as its standard deviation.
        case normal(Double)
    }

    /// Filled with normal numbers unless said otherwise.
    package init(_ name: String, _ shape: [Int], _ start: Start = .normal(1)) {
        self.name = name
        self.shape = shape
        self.start = start
    }

    /// The number of cells.
    package var count: Int { shape.reduce(1, *) }

    /// The values of a new tensor.
    ///
    /// Every tensor has its own stream, keyed by its name: the same seed and name give the same numbers.
    ///
    /// - Parameter std: `initializer_range`.
    func new(seed: UInt64, std: Double, dtype: DType, device: Device) -> Tensor {
        switch start {
        case .zeros: return Tensor(zeros: shape, dtype: dtype, device: device)
        case .ones: return Tensor(filled: 1, shape: shape, dtype: dtype, device: device)
        case .normal(let scale):
            let stream = RandomStream(seed: seed, place: "init \(name)")
            let values = (0..<count).map { Float(stream.normal(UInt64($0)) * std * scale) }
            return Tensor(values, shape: shape, dtype: dtype, device: device)
        }
    }
}
