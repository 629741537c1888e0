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
}
