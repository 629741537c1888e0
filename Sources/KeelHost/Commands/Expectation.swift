import KeelBridge
import KeelCore

/// What a batch of `plugin eval` says its answer must be: only the values that are named are compared.
struct Expectation {
    var wanted: JSON
    /// How far a number may be off, relative to the wanted one; around 0 a thousandth of that, absolute.
    var tolerance: Double

    /// Where the answer differs first; nil when it is as wanted.
    func difference(_ answer: JSON) -> String? { difference(wanted, answer, "") }

    private func difference(_ wanted: JSON, _ got: JSON?, _ place: String) -> String? {
        let name = place.isEmpty ? "the answer" : place
        guard let got else { return "there is no \(name)" }
        if case .object(let object) = wanted {
            guard got.object != nil else { return differ(name, wanted, got) }
            for (key, value) in object {
                let path = place.isEmpty ? key : "\(place).\(key)"
                if let found = difference(value, got[key], path) { return found }
            }
            return nil
        }
        if case .array(let list) = wanted {
            // Arrays are nested lists or shape and data, on either side.
            if got["data"] != nil {
                guard let a = try? Arrays.cells(wanted.finiteText, name: name),
                    let b = try? Arrays.cells(got.finiteText, name: name)
                else { return differ(name, wanted, got) }
                guard a.shape == b.shape else {
                    return "\(name) has the shape \(b.shape), expected \(a.shape)"
                }
                return cells(wanted, got["data"]?.array ?? [], name)
            }
            guard let other = got.array, other.count == list.count else {
                return differ(name, wanted, got)
            }
            for (index, item) in list.enumerated() {
                if let found = difference(item, other[index], "\(name)[\(index)]") { return found }
            }
            return nil
        }
        if let a = wanted.plainNumber, let b = got.plainNumber {
            let isNear = a.isFinite && b.isFinite && abs(a - b) <= tolerance * (abs(a) + 1e-3)
            let isClose = a == b || a.isNaN && b.isNaN || isNear
            return isClose ? nil : differ(name, wanted, got)
        }
        return wanted == got ? nil : differ(name, wanted, got)
    }

    /// Nested lists against row-major data of the same shape.
    private func cells(_ wanted: JSON, _ data: [JSON], _ name: String) -> String? {
        var flat: [JSON] = []
        func walk(_ json: JSON) {
            if case .array(let list) = json { list.forEach(walk) } else { flat.append(json) }
        }
        walk(wanted)
        for (index, item) in flat.enumerated() where index < data.count {
            if let found = difference(item, data[index], "\(name)[\(index)]") { return found }
        }
        return nil
    }

    private func differ(_ name: String, _ wanted: JSON, _ got: JSON) -> String {
        "\(name) is \(got.text()), expected \(wanted.text())"
    }
}

extension JSON {
    /// A number, also one that is written as "nan", "inf" or "-inf".
    fileprivate var plainNumber: Double? {
        switch self {
        case .string("nan"): .nan
        case .string("inf"): .infinity
        case .string("-inf"): -.infinity
        default: number
        }
    }

    /// The same with 0 for what is no finite number: for shapes.
    fileprivate var finiteText: JSON {
        switch self {
        case .array(let list): .array(list.map(\.finiteText))
        case .object(let object):
            .object(JSONObject(pairs: object.map { ($0.key, $0.value.finiteText) }))
        case .string: 0
        default: self
        }
    }
}
