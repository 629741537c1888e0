/// What a data set says of its rows besides their texts, by their numbers.
///
/// Nothing is kept as long as nothing is said of any row.
package struct DatasetValues: RandomAccessCollection, MutableCollection, Sendable {
    package private(set) var count = 0
    /// nil = nothing is said.
    private var stored: [RowValues]?

    package init(_ values: [RowValues] = []) {
        for one in values { append(one) }
    }

    package var startIndex: Int { 0 }
    package var endIndex: Int { count }

    package subscript(row: Int) -> RowValues {
        get {
            precondition(row < count, "row \(row) of \(count)")
            return stored?[row] ?? RowValues()
        }
        set {
            precondition(row < count, "row \(row) of \(count)")
            fill(for: newValue)
            stored?[row] = newValue
        }
    }

    mutating func append(_ values: RowValues) {
        fill(for: values)
        stored?.append(values)
        count += 1
    }

    private mutating func fill(for values: RowValues) {
        guard stored == nil, values != RowValues() else { return }
        stored = [RowValues](repeating: RowValues(), count: count)
    }
}
